//! The result of reading a log from a folder or a server.

use vectorizer_log::{Damage, Head, LogId, Seq, Verification};

use super::streams::Streams;

/// The result of reading a log. If the reading was stopped early, it covers only the records so far.
#[derive(Debug)]
pub(super) struct Reading {
    /// The id of the log; `None` if it is not known.
    pub(super) log_id: Option<LogId>,
    /// The acknowledged end; `None` if it cannot be read.
    pub(super) head: Option<Head>,
    /// The number of complete records that were read.
    pub(super) records: u64,
    /// Missing or damaged records.
    pub(super) damage: Vec<Damage>,
    /// Remarks that are not errors.
    pub(super) notes: Vec<String>,
}

impl Reading {
    /// The result for a log that cannot be read at all.
    pub(super) fn unreadable(log_id: Option<LogId>, damage: Damage) -> Self {
        let (damage, notes) = (vec![damage], Vec::new());
        Self { log_id, head: None, records: 0, damage, notes }
    }

    /// Whether there is no damage, as far as the log was read.
    pub(super) fn is_intact(&self) -> bool {
        self.damage.is_empty()
    }

    /// Writes the findings as remarks. `subject` names the log.
    pub(super) fn remark(&self, subject: &str, streams: &Streams) {
        for damage in &self.damage {
            streams.remark(format_args!("{subject}: {damage}"));
        }
        for note in &self.notes {
            streams.remark(format_args!("{subject}: note: {note}"));
        }
    }
}

impl From<Verification> for Reading {
    fn from(verification: Verification) -> Self {
        let Verification {
            log_id,
            acknowledged,
            last,
            beginning,
            records,
            damage,
            unfinished,
            head_slot_torn,
        } = verification;
        let mut notes = Vec::new();
        if beginning > Seq::NONE {
            notes.push(format!(
                "the records up to seq {beginning} were dropped; the log begins with their state"
            ));
        }
        if let Some(Damage { seq, kind }) = unfinished {
            notes.push(format!(
                "the log has an unfinished end after the head, at seq {seq} ({kind}); the next start truncates it"
            ));
        }
        if last > acknowledged.seq && damage.is_empty() {
            notes.push(format!("the records up to seq {last} are after the head and complete"));
        }
        if head_slot_torn {
            notes.push("one of the two slots of the head is torn; the other one is valid".to_owned());
        }
        Self { log_id: Some(log_id), head: Some(acknowledged), records, damage, notes }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use vectorizer_log::DamageKind;

    use super::*;

    #[test]
    fn an_unfinished_end_is_a_note() {
        let log_id = LogId::new(Uuid::nil());
        let acknowledged = Head { seq: Seq::new(3), ..Head::genesis(log_id) };
        let reading = Reading::from(Verification {
            log_id,
            acknowledged,
            last: Seq::new(5),
            beginning: Seq::NONE,
            records: 5,
            damage: Vec::new(),
            unfinished: Some(Damage { seq: Seq::new(5), kind: DamageKind::CommitUnfinished }),
            head_slot_torn: false,
        });
        assert!(reading.is_intact());
        assert!(
            reading.notes[0].contains("an unfinished end after the head, at seq 5"),
            "{:?}",
            reading.notes
        );
    }
}
