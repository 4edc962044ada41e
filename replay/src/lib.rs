//! Projections of a tenant's log.
