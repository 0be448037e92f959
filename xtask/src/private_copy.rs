//! Private copies of programs, in folders of the repository that git ignores.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::below_root;

/// Where `binary` lies below `folder`, which `install` fills when it is not there: it gets a folder to put
/// everything into.
pub(crate) fn have(
    folder: &Path,
    binary: &Path,
    install: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let path = folder.join(binary);
    if path.is_file() {
        return Ok(path);
    }
    eprintln!("installing into {}", below_root(folder).display());
    let home = folder.parent().unwrap_or(folder);
    fs::create_dir_all(home).with_context(|| format!("cannot create {}", home.display()))?;
    // Under another name first: a half-installed copy must not be taken for one.
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let partial = home.join(format!("{name}.partial-{}", std::process::id()));
    let moved = install(&partial).and_then(|()| put_in_place(&partial, folder, &path));
    if moved.is_err() {
        let _ = fs::remove_dir_all(&partial); // the first error is the one to show
    }
    moved?;
    Ok(path)
}

fn put_in_place(partial: &Path, folder: &Path, path: &Path) -> Result<()> {
    match fs::rename(partial, folder) {
        Ok(()) => Ok(()),
        // Another run of this program was faster; its copy is as good.
        Err(_) if path.is_file() => Ok(fs::remove_dir_all(partial)?),
        Err(error) => Err(error).with_context(|| format!("cannot create {}", folder.display())),
    }
}
