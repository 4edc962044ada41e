//! What reading a log has shown, wherever it was read from.

use vectorizer_log::{Damage, Head, LogId, Verification};

use super::streams::Streams;

/// The findings of one reading. One that was stopped early says nothing of what lies behind.
#[derive(Debug)]
pub(super) struct Reading {
    /// Which log; `None` if nothing of it says so.
    pub(super) log_id: Option<LogId>,
    /// What it has acknowledged; `None` if that cannot be read.
    pub(super) head: Option<Head>,
    /// How many whole records were read.
    pub(super) records: u64,
    /// What is missing or wrong.
    pub(super) damage: Vec<Damage>,
    /// What is worth knowing and not wrong.
    pub(super) notes: Vec<String>,
}

impl Reading {
    /// A log of which nothing can be read.
    pub(super) fn unreadable(log_id: Option<LogId>, damage: Damage) -> Self {
        let (damage, notes) = (vec![damage], Vec::new());
        Self { log_id, head: None, records: 0, damage, notes }
    }

    /// Whether everything acknowledged is there, as far as was read.
    pub(super) fn holds(&self) -> bool {
        self.damage.is_empty()
    }

    /// Names what was found, on the side of the answer: `subject` is whose log it is.
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
        let Verification { log_id, acknowledged, last, records, damage, unfinished, head_slot_torn } =
            verification;
        let mut notes = Vec::new();
        if let Some(Damage { seq, kind }) = unfinished {
            notes.push(format!(
                "beyond the head the log ends unfinished at seq {seq} ({kind}); the next start cuts that end"
            ));
        }
        if last > acknowledged.seq && damage.is_empty() {
            notes.push(format!("the records up to seq {last} lie beyond the head and are whole"));
        }
        if head_slot_torn {
            notes.push("one of the head's two slots is torn; the other one holds the head".to_owned());
        }
        Self { log_id: Some(log_id), head: Some(acknowledged), records, damage, notes }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use vectorizer_log::{DamageKind, Seq};

    use super::*;

    #[test]
    fn an_unfinished_end_is_a_note() {
        let log_id = LogId::new(Uuid::nil());
        let acknowledged = Head { seq: Seq::new(3), ..Head::genesis(log_id) };
        let reading = Reading::from(Verification {
            log_id,
            acknowledged,
            last: Seq::new(5),
            records: 5,
            damage: Vec::new(),
            unfinished: Some(Damage { seq: Seq::new(5), kind: DamageKind::CommitUnfinished }),
            head_slot_torn: false,
        });
        assert!(reading.holds());
        assert!(reading.notes[0].contains("unfinished at seq 5"), "{:?}", reading.notes);
    }
}
