//! Where the services of these tests keep payments: in a new database.

use std::path::Path;
use std::process::Command;

use crate::server::{PASSWORD, Server};

/// What has to live as long as a service.
pub type Kept = Server;

/// What of it no log may show.
pub const SECRETS: [&str; 1] = [PASSWORD];

/// Has `service` keep its payments in a database whose files are in `folder`.
pub fn keep(service: &mut Command, folder: &Path) -> Kept {
    let server = Server::start(folder);
    point(service, &server);
    server
}

/// Has `service` keep its payments in `server`.
pub fn point(service: &mut Command, server: &Server) {
    service.args(["--store", "postgres"]).env("PAYMENTS_POSTGRES", server.url());
}

/// Sees to it that the files of what was kept are in `folder`.
pub fn collect(kept: &Kept, folder: &Path) {
    kept.copy_files(folder);
}
