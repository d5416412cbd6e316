//! What a promotion costs its coordinator and the registries that it talks to.

use std::cell::RefCell;

use crate::programs::{Coordinator, Promoted};
use crate::registry::Registry;
use crate::requests::Requests;
use crate::{Outcome, Replica, row};

/// Programs that are looked at before and after each promotion.
pub(crate) struct Watch<'a> {
    coordinator: &'a Coordinator,
    /// By what they are called.
    registries: Vec<(&'static str, &'a Registry)>,
    rows: usize,
}

/// What was used until a moment.
struct Moment {
    coordinator: f64,
    registries: Vec<f64>,
    logged: Vec<u64>,
}

/// What a promotion came to.
pub(crate) struct Cost {
    pub(crate) promoted: Promoted,
    pub(crate) requests: usize,
    /// Seconds of the coordinator, and of all registries.
    pub(crate) coordinator: f64,
    pub(crate) registries: f64,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(
        coordinator: &'a Coordinator,
        registries: Vec<(&'static str, &'a Registry)>,
        replica: &Replica,
    ) -> Self {
        Self {
            coordinator,
            registries,
            rows: replica.images.len(),
        }
    }

    /// Promotes, and prints a line about it; with `table`, each kind of request,
    /// too.
    pub(crate) fn promote(
        &self,
        step: &str,
        manifests: &std::path::Path,
        table: bool,
    ) -> Outcome<Cost> {
        let before = self.now()?;
        let planned = RefCell::new(None);
        let promoted = self.coordinator.promote(manifests, || {
            *planned.borrow_mut() = Some(self.now()?);
            Ok(())
        })?;
        let after = self.now()?;
        let planned = planned.into_inner().ok_or("there was no plan")?;
        let mut told = Vec::new();
        let mut requests = 0;
        for (number, (name, registry)) in self.registries.iter().enumerate() {
            let between = |from: &Moment, to: &Moment| {
                registry.requests(from.logged[number], to.logged[number])
            };
            let planning = between(&before, &planned)?;
            let executing = between(&planned, &after)?;
            requests += planning.all() + executing.all();
            told.push(format!(
                "{name} {}+{} requests, {:.1}+{:.1} s",
                planning.all(),
                executing.all(),
                planned.registries[number] - before.registries[number],
                after.registries[number] - planned.registries[number]
            ));
            if table {
                Requests::print(name, &planning, &executing, self.rows);
            }
        }
        told.push(format!(
            "coordinator {:.1}+{:.1} s, peak {} MB",
            planned.coordinator - before.coordinator,
            after.coordinator - planned.coordinator,
            self.coordinator.peak_memory()? / 1_000_000
        ));
        row(
            step,
            promoted.time,
            &format!("{}; {}", told.join("; "), promoted.done),
        );
        let sum = |moment: &Moment| moment.registries.iter().sum::<f64>();
        Ok(Cost {
            promoted,
            requests,
            coordinator: after.coordinator - before.coordinator,
            registries: sum(&after) - sum(&before),
        })
    }

    fn now(&self) -> Outcome<Moment> {
        let registries = self.registries.iter();
        Ok(Moment {
            coordinator: self.coordinator.processor_seconds()?,
            registries: registries
                .clone()
                .map(|(_, registry)| registry.processor_seconds())
                .collect::<Outcome<_>>()?,
            logged: registries
                .map(|(_, registry)| registry.logged())
                .collect::<Outcome<_>>()?,
        })
    }
}
