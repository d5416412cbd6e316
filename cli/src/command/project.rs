//! `landfall project apply`: what release managers cannot change by themselves.

use landfall_proto::v1::{self, promotion_client::PromotionClient};
use serde_json::json;

use super::{manifests, promote};
use crate::{
    args::{ProjectApplyArgs, ProjectCommand},
    connect,
    failure::{Failure, Verdict},
    output,
};

pub(crate) async fn run(command: ProjectCommand) -> Result<Verdict, Failure> {
    match command {
        ProjectCommand::Apply(args) => apply(args).await,
    }
}

async fn apply(args: ProjectApplyArgs) -> Result<Verdict, Failure> {
    let coordinator = &args.coordinator.coordinator;
    let options = v1::PlanOptions {
        dry_run: args.dry_run,
        ..v1::PlanOptions::default()
    };
    let requests = promote::upload(manifests::read(&args.dir)?, options);
    let projects = PromotionClient::new(connect::connection(coordinator)?)
        .apply_projects(futures::stream::iter(requests))
        .await
        .map_err(|status| connect::refused(coordinator, &status))?
        .into_inner()
        .projects;
    if args.json {
        let projects: Vec<_> = projects.iter().map(object).collect();
        output::json(&json!({"dry_run": args.dry_run, "projects": projects}))?;
    } else {
        output::line(text(&projects, args.dry_run))?;
    }
    Ok(Verdict::Done)
}

fn object(project: &v1::AppliedProject) -> serde_json::Value {
    json!({"project": project.project, "kind": project.kind, "change": project.change,
        "source": project.source, "destinations": project.destinations,
        "source_before": project.source_before,
        "destinations_before": project.destinations_before})
}

/// What is new or changed, line by line; what is the same only by number.
fn text(projects: &[v1::AppliedProject], dry_run: bool) -> String {
    let mut lines = Vec::new();
    for project in projects.iter().filter(|project| project.change != "same") {
        lines.push(format!(
            "{}: {} ({})",
            project.change, project.project, project.kind
        ));
        if project.change == "changed" {
            lines.push(format!("  - {}", project.source_before));
            let before = project.destinations_before.iter();
            lines.extend(before.map(|to| format!("    -> {to}")));
        }
        lines.push(format!("  + {}", project.source));
        let after = project.destinations.iter();
        lines.extend(after.map(|to| format!("    -> {to}")));
    }
    let count = |change: &str| projects.iter().filter(|one| one.change == change).count();
    let figures = format!(
        "{} new, {} changed, {} as they were",
        count("new"),
        count("changed"),
        count("same")
    );
    lines.push(if dry_run {
        format!("{figures}; nothing was registered")
    } else {
        figures
    });
    lines.join("\n")
}
