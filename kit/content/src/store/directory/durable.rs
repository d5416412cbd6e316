//! Changes to the file system that are on the disk when they return.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::store::StoreError;

/// Mode of objects: nobody changes them in place, also not through a link.
pub(super) const READ_ONLY: u32 = 0o444;
/// Mode of `index.json` and the like.
pub(in crate::store) const WRITABLE: u32 = 0o644;

/// Writes `content` to `temporary` and moves it to `path`, replacing what was
/// there.
pub(in crate::store) fn replace(
    temporary: &Path,
    path: &Path,
    content: &[u8],
    mode: u32,
) -> Result<(), StoreError> {
    let written = write_new(temporary, content, mode).and_then(|()| rename(temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(temporary);
    }
    written
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<(), StoreError> {
    let mut file = File::create_new(path).map_err(StoreError::io("create", path))?;
    file.write_all(content)
        .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
        .and_then(|()| file.sync_all())
        .map_err(StoreError::io("write", path))
}

/// Moves `from` to `to` and fsyncs the folder of `to`.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(rename_error(to))?;
    sync_folder_of(to)
}

/// What a failed move to `to` means.
pub(super) fn rename_error(to: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let to = to.to_owned();
    move |error| {
        if matches!(
            error.kind(),
            ErrorKind::IsADirectory | ErrorKind::NotADirectory
        ) {
            StoreError::Collision { path: to }
        } else {
            StoreError::io("rename to", &to)(error)
        }
    }
}

/// Removes a file if it is there, and fsyncs its folder.
pub(super) fn remove(path: &Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder_of(path).map(|()| true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io("remove", path)(error)),
    }
}

/// Fsyncs the folder that `path` lies in.
pub(in crate::store) fn sync_folder_of(path: &Path) -> Result<(), StoreError> {
    sync_folder(path.parent().unwrap_or(Path::new("/")))
}

/// Fsyncs a folder, so that the names in it survive a crash.
pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(StoreError::io("fsync", folder))
}

/// Creates `root/below` and the folders above it, each durably. `root` itself
/// may be missing, its parent may not.
pub(super) fn create_folders(root: &Path, below: &Path) -> Result<(), StoreError> {
    let mut folder = PathBuf::from(root);
    create_folder(&folder)?;
    for segment in below {
        folder.push(segment);
        create_folder(&folder)?;
    }
    Ok(())
}

fn create_folder(folder: &Path) -> Result<(), StoreError> {
    match fs::create_dir(folder) {
        Ok(()) => sync_folder_of(folder),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::AlreadyExists | ErrorKind::NotADirectory
            ) =>
        {
            Err(StoreError::Collision {
                path: folder.to_owned(),
            })
        }
        Err(error) => Err(StoreError::io("create", folder)(error)),
    }
}

/// Opens a file that is only there to be locked.
pub(super) fn open_lock(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(StoreError::io("open", path))
}
