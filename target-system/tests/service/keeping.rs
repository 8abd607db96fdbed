//! Where the services of these tests keep payments: in the folder that they are given.

use std::path::Path;
use std::process::Command;

/// What has to live as long as a service: nothing here.
pub struct Kept;

/// What of it no log may show.
pub const SECRETS: [&str; 0] = [];

/// Has `service` keep its payments in `data`.
pub fn keep(service: &mut Command, data: &Path) -> Kept {
    service.arg("--data").arg(data);
    Kept
}

/// Sees to it that the files of what was kept are in `folder`: here they always are.
pub fn collect(_kept: &Kept, _folder: &Path) {}
