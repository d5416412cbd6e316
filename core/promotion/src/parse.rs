//! A tree of manifests becomes projects and findings.

use std::collections::{BTreeMap, HashMap};

use crate::conflict;
use crate::finding::{Finding, Reporter, Source, Spot};
use crate::manifest::files::{Files, read_files, read_filestores};
use crate::manifest::half::Half;
use crate::manifest::images::{Images, read_images, read_registries, read_single};
use crate::manifest::layout::{FileRole, place, project_below, single, wanted};
use crate::plain::quoted;
use crate::project::{Kind, Project};
use crate::rules::{self, Rule};

/// One file of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Path relative to the directory that was given, with `/` between segments.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// The manifests of a directory. Files that are none
/// ([`wanted`](crate::layout::wanted) says so) are left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// The files, in any order.
    pub files: Vec<SourceFile>,
    /// What is in the place of a manifest, or of a folder of them, and cannot be
    /// read. It makes its project doubtful, and nobody else's.
    pub unreadable: Vec<Unreadable>,
}

/// Something in the place of manifests that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Path of the file or folder, as in [`SourceFile`].
    pub path: String,
    /// Line of what cannot be read, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Why.
    pub why: String,
}

/// How much a tree holds, sound or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Manifests that were read.
    pub manifests: u64,
    /// Projects with both halves, counted per kind.
    pub projects: u64,
    /// Entries of the `images.yaml` lists.
    pub image_entries: u64,
    /// Rows `digest: [tags]`.
    pub digest_rows: u64,
    /// Tags of those rows.
    pub tags: u64,
    /// Entries of the file lists.
    pub file_entries: u64,
    /// Copies that the manifests spell out, sound or not: every tag (or digest
    /// without one) and every file, times the destinations of its project.
    pub destination_edges: u64,
    /// Rows and files that were left out because of a finding.
    pub quarantined: u64,
}

/// What a tree of manifests says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Projects whose sensitive half is sound, by name and kind, each with the
    /// sound entries of its delegated half.
    pub projects: Vec<Project>,
    /// Projects that were left out whole, by name and kind: their sensitive half
    /// is wrong, or one of their halves is missing.
    pub left_out: Vec<(String, Kind)>,
    /// What was found, by file and line.
    pub findings: Vec<Finding>,
    /// How much there was.
    pub stats: Figures,
}

impl Parsed {
    /// Whether nothing found fails a validation (see [`Finding::fails`]).
    #[must_use]
    pub fn passes(&self, strict: bool) -> bool {
        !self.findings.iter().any(|finding| finding.fails(strict))
    }
}

/// The manifests of one project in one root.
#[derive(Default)]
pub(crate) struct Group<'t> {
    pub(crate) registries: Option<&'t SourceFile>,
    pub(crate) images: Option<&'t SourceFile>,
    pub(crate) filestores: Option<&'t SourceFile>,
    pub(crate) files: Vec<&'t SourceFile>,
}

/// Reads a tree, or a single file that holds both halves of an image project
/// ([`single`](crate::layout::single)). Nothing in it makes this fail: what is wrong becomes a finding,
/// and the entry, or the project where its sensitive half is wrong, is left out.
#[must_use]
pub fn parse(tree: &Tree) -> Parsed {
    let mut parse = Parse::default();
    if let [file] = tree.files.as_slice()
        && let Some(project) = single(&file.path)
    {
        parse.single(project, file);
    }
    for item in &tree.unreadable {
        parse.cannot_read(item);
    }
    for ((_, project), group) in groups(tree) {
        parse.images_of(project, &group);
        parse.files_of(project, &group);
    }
    let mut projects = parse.projects;
    projects.sort_by(|a, b| (&a.name, a.kind).cmp(&(&b.name, b.kind)));
    let mut left_out = parse.left_out;
    left_out.sort();
    Parsed {
        projects,
        left_out,
        findings: parse.reporter.into_findings(),
        stats: parse.figures,
    }
}

/// The manifests by root and project.
pub(crate) fn groups(tree: &Tree) -> BTreeMap<(&str, &str), Group<'_>> {
    let mut groups: BTreeMap<_, Group<'_>> = BTreeMap::new();
    for file in &tree.files {
        let Some(place) = place(&file.path) else {
            continue;
        };
        let group = groups.entry((place.root, place.project)).or_default();
        match place.role {
            FileRole::Registries => group.registries = Some(file),
            FileRole::Images => group.images = Some(file),
            FileRole::Filestores => group.filestores = Some(file),
            FileRole::Files => group.files.push(file),
        }
    }
    for group in groups.values_mut() {
        group.files.sort_by(|a, b| a.path.cmp(&b.path));
    }
    groups
}

#[derive(Default)]
struct Parse {
    projects: Vec<Project>,
    left_out: Vec<(String, Kind)>,
    /// Where each project of a kind was first seen.
    seen: HashMap<(String, Kind), String>,
    /// How much of each project cannot be read.
    unreadable: HashMap<String, u64>,
    reporter: Reporter,
    figures: Figures,
}

impl Parse {
    fn cannot_read(&mut self, item: &Unreadable) {
        let project = project_below(&item.path);
        let images = item.path.split('/').any(|segment| segment == "images")
            || wanted(&item.path) == Some(FileRole::Registries);
        let kind = if images { Kind::Images } else { Kind::Files };
        let owner = owner(project.unwrap_or_default(), kind);
        let source = Source::new(&item.path, "", owner);
        let spot = Spot {
            line: item.line,
            column: item.column,
        };
        let message = format!("{} cannot be read: {}", quoted(&item.path), item.why);
        let about = [source.path_below_root(), &item.why];
        let rule = &rules::UNREADABLE;
        self.reporter.report(&source, spot, rule, message, &about);
        self.figures.quarantined += 1;
        match project {
            Some(project) => *self.unreadable.entry(project.to_owned()).or_default() += 1,
            // Whatever projects are in there.
            None => {
                for kind in [Kind::Images, Kind::Files] {
                    self.left_out.push((item.path.clone(), kind));
                }
            }
        }
    }

    fn unreadable(&self, project: &str) -> u64 {
        self.unreadable.get(project).copied().unwrap_or_default()
    }

    fn images_of(&mut self, project: &str, group: &Group<'_>) {
        let source = |file| source(file, project, Kind::Images);
        match (group.registries, group.images) {
            (None, None) => {}
            (Some(registries), None) => {
                let registries = source(registries);
                self.count(1);
                read_registries(&registries, &mut self.reporter);
                if self.unreadable(project) == 0 {
                    let message = format!("project {project} has no images.yaml");
                    self.lonely(&registries, &rules::MISSING_IMAGES, message, &[]);
                }
                self.leave_out(project, Kind::Images, 0);
            }
            (None, Some(images)) => {
                let images = source(images);
                self.count(1);
                let read = read_images(&images, &mut self.reporter, &mut self.figures);
                self.figures.quarantined += read.quarantined;
                if self.unreadable(project) == 0 {
                    let message = format!("project {project} has no promoter-manifest.yaml");
                    let left_out = [images.content()];
                    self.lonely(&images, &rules::MISSING_REGISTRIES, message, &left_out);
                }
                self.leave_out(project, Kind::Images, read.rows.len());
            }
            (Some(registries), Some(images)) => {
                let (registries, images) = (source(registries), source(images));
                self.count(2);
                let half = read_registries(&registries, &mut self.reporter);
                let read = read_images(&images, &mut self.reporter, &mut self.figures);
                self.images_project(project, &registries, half, read, images);
            }
        }
    }

    fn single(&mut self, project: &str, file: &SourceFile) {
        let manifest = source(file, project, Kind::Images);
        self.count(1);
        let (half, read) = read_single(&manifest, &mut self.reporter, &mut self.figures);
        let images = source(file, project, Kind::Images);
        self.images_project(project, &manifest, half, read, images);
    }

    /// `images` is where `read` was read, `registries` where `half` was.
    fn images_project(
        &mut self,
        project: &str,
        registries: &Source<'_>,
        half: Option<Half>,
        mut read: Images,
        images: Source<'_>,
    ) {
        self.figures.projects += 1;
        let sources = [images];
        read.quarantined += conflict::tags(&mut read.rows, &sources, &mut self.reporter);
        let half = self.first(project, Kind::Images, registries, half, &sources);
        self.count_edges(half.as_ref(), read.listed);
        self.figures.quarantined += read.quarantined;
        match half {
            None => self.leave_out(project, Kind::Images, read.rows.len()),
            Some(half) => self.projects.push(Project {
                name: project.to_owned(),
                kind: Kind::Images,
                source: half.source,
                destinations: half.destinations,
                images: read.rows,
                files: Vec::new(),
                quarantined: read.quarantined + self.unreadable(project),
                at: registries.position(Spot::START),
            }),
        }
    }

    fn files_of(&mut self, project: &str, group: &Group<'_>) {
        let source = |file| source(file, project, Kind::Files);
        let lists: Vec<Source<'_>> = group.files.iter().map(|file| source(file)).collect();
        let Some(filestores) = group.filestores else {
            return self.lists_without_filestores(project, group, &lists);
        };
        let filestores = source(filestores);
        self.count(1 + lists.len());
        let half = read_filestores(&filestores, &mut self.reporter);
        if lists.is_empty() && self.unreadable(project) > 0 {
            return self.leave_out(project, Kind::Files, 0);
        }
        if lists.is_empty() {
            let message = format!("project {project} lists no files");
            return self.lonely(&filestores, &rules::NO_FILE_MANIFESTS, message, &[]);
        }
        self.figures.projects += 1;
        let mut files = self.read_lists(&lists);
        files.quarantined += conflict::hashes(&mut files.entries, &lists, &mut self.reporter);
        let half = self.first(project, Kind::Files, &filestores, half, &lists);
        self.count_edges(half.as_ref(), files.listed);
        self.figures.quarantined += files.quarantined;
        match half {
            None => self.leave_out(project, Kind::Files, files.entries.len()),
            Some(half) => self.projects.push(Project {
                name: project.to_owned(),
                kind: Kind::Files,
                source: half.source,
                destinations: half.destinations,
                images: Vec::new(),
                files: files.entries,
                quarantined: files.quarantined + self.unreadable(project),
                at: filestores.position(Spot::START),
            }),
        }
    }

    fn lists_without_filestores(&mut self, project: &str, group: &Group<'_>, lists: &[Source<'_>]) {
        let Some(first) = lists.first() else {
            return;
        };
        if group.registries.is_some() || group.images.is_some() {
            for list in lists {
                let message = "not read: it is no promoter-manifest.yaml".to_owned();
                self.lonely(list, &rules::IGNORED_FILE, message, &[]);
            }
            return;
        }
        self.count(lists.len());
        let files = self.read_lists(lists);
        self.figures.quarantined += files.quarantined;
        if self.unreadable(project) == 0 {
            let message = format!("project {project} has no filepromoter-manifest.yaml");
            let left_out: Vec<String> = lists.iter().map(Source::content).collect();
            self.lonely(first, &rules::MISSING_FILESTORES, message, &left_out);
        }
        self.leave_out(project, Kind::Files, files.entries.len());
    }

    fn read_lists(&mut self, lists: &[Source<'_>]) -> Files {
        let mut files = Files::default();
        for list in lists {
            read_files(list, &mut self.reporter, &mut self.figures, &mut files);
        }
        files
    }

    /// Passes a sensitive half on if it is the first of its project and kind.
    fn first(
        &mut self,
        project: &str,
        kind: Kind,
        source: &Source<'_>,
        half: Option<Half>,
        lists: &[Source<'_>],
    ) -> Option<Half> {
        let key = (project.to_owned(), kind);
        if let Some(first) = self.seen.get(&key) {
            let message = format!("project {project} is also defined in {first}");
            let mut left_out: Vec<String> = lists.iter().map(Source::content).collect();
            left_out.push(source.content());
            self.lonely(source, &rules::DUPLICATE_PROJECT, message, &left_out);
            return None;
        }
        self.seen.insert(key, source.path.to_string());
        half
    }

    /// Destinations are multiplied, never walked.
    fn count_edges(&mut self, half: Option<&Half>, listed: u64) {
        let destinations = half.map_or(0, |half| half.destinations.len()) as u64;
        self.figures.destination_edges += destinations * listed;
    }

    fn leave_out(&mut self, project: &str, kind: Kind, entries: usize) {
        self.left_out.push((project.to_owned(), kind));
        self.figures.quarantined += entries as u64;
    }

    /// `left_out` are the contents of the manifests that nothing is promoted of.
    fn lonely(&mut self, source: &Source<'_>, rule: &Rule, message: String, left_out: &[String]) {
        let about: Vec<&str> = left_out.iter().map(String::as_str).collect();
        self.reporter
            .report(source, Spot::START, rule, message, &about);
    }

    fn count(&mut self, manifests: usize) {
        self.figures.manifests += manifests as u64;
    }
}

fn source<'t>(file: &'t SourceFile, project: &str, kind: Kind) -> Source<'t> {
    Source::new(&file.path, &file.text, owner(project, kind))
}

/// What the hash of a finding is relative to.
pub(crate) fn owner(project: &str, kind: Kind) -> String {
    format!("{project}/{kind}")
}
