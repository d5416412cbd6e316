//! What the clients got, as people read it.

use std::collections::BTreeSet;

use crate::output;

/// What became of one download, as a row of the table.
#[derive(Debug)]
pub(super) struct Delivery {
    /// Who asked.
    pub(super) client: &'static str,
    /// For what.
    pub(super) what: &'static str,
    /// Where it was sent.
    pub(super) sent_to: BTreeSet<String>,
    /// How near that is.
    pub(super) tiers: BTreeSet<String>,
    /// What would have been nearer, and why it was not taken.
    pub(super) passed_over: BTreeSet<String>,
    /// How much came.
    pub(super) bytes: u64,
    /// How many digests were right.
    pub(super) digests: usize,
    /// Everything that was not as it must be.
    pub(super) faults: Vec<String>,
}

/// The rows as a table for people, and below it what was not taken and why.
pub(super) fn table(deliveries: &[Delivery]) -> String {
    let joined = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(", ");
    let mut table = output::table::Table::new(&[
        "CLIENT IN",
        "ASKED FOR",
        "SENT TO",
        "BECAUSE",
        ">RECEIVED",
        "CHECKED",
    ]);
    let mut notes = String::new();
    for delivery in deliveries {
        let Delivery { client, what, .. } = delivery;
        table.row([
            (*client).to_owned(),
            (*what).to_owned(),
            joined(&delivery.sent_to),
            joined(&delivery.tiers),
            output::bytes(delivery.bytes),
            match (delivery.faults.is_empty(), delivery.digests) {
                (false, _) => "FAILED".to_owned(),
                (true, 1) => "sha256 ok".to_owned(),
                (true, digests) => format!("{digests} x sha256 ok"),
            },
        ]);
        for why in &delivery.passed_over {
            notes.push_str(&format!("\n{client}, {what}: {why}"));
        }
    }
    table.render() + &notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_shows_in_its_row_and_what_was_passed_over_below() {
        let delivery = |what, faults: &[&str]| Delivery {
            client: "Norway",
            what,
            sent_to: BTreeSet::from(["a".into(), "b".into()]),
            tiers: BTreeSet::from(["anywhere".into()]),
            passed_over: BTreeSet::from([format!("c is nearer to the {what}")]),
            bytes: 1_000,
            digests: 8,
            faults: faults.iter().map(|&fault| fault.to_owned()).collect(),
        };
        let text = table(&[delivery("image", &[]), delivery("file", &["wrong"])]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[1].ends_with("a, b     anywhere    1.0 kB  8 x sha256 ok"),
            "{text}"
        );
        assert!(lines[2].ends_with("FAILED"), "{text}");
        assert_eq!(lines[3], "Norway, image: c is nearer to the image");
        assert_eq!(lines.len(), 5);
    }
}
