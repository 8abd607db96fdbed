//! The settings of several databases.

use anyhow::{Context as _, ensure};

use super::map::{By, Place, ShardMap};
use crate::limits::MAX_SHARDS;

/// The databases that `urls` names, with a comma between two, and which of them each is.
///
/// # Errors
/// When they are too many.
pub fn divide(urls: &str, by: By) -> anyhow::Result<Vec<(Place, &str)>> {
    let urls = apart(urls);
    let map = ShardMap::new(by, urls.len())
        .with_context(|| format!("it names {} databases: name {MAX_SHARDS} at most", urls.len()))?;
    Ok(urls.into_iter().enumerate().map(|(own, url)| (Place { map, own }, url)).collect())
}

/// URLs with commas between them. A comma that no URL begins behind is part of one: a database may have several hosts.
fn apart(urls: &str) -> Vec<&str> {
    let begins = |at: &usize| {
        let behind = urls[at + 1..].trim_start();
        ["postgres://", "postgresql://"].iter().any(|scheme| behind.starts_with(scheme))
    };
    let commas = urls.match_indices(',').map(|(at, _)| at).filter(begins);
    let mut from = 0;
    let mut all = Vec::new();
    for at in commas.chain([urls.len()]) {
        all.push(urls[from..at].trim());
        from = at + 1;
    }
    all
}

/// The replicas of each of `shards` databases: those of one with a comma between two, and a semicolon between databases.
///
/// # Errors
/// When they are those of more or fewer databases.
pub fn copies(urls: &str, shards: usize) -> anyhow::Result<Vec<Option<&str>>> {
    let each: Vec<&str> = urls.split(';').map(str::trim).collect();
    ensure!(
        each.len() == shards,
        "it names replicas of {} databases, and there are {shards}: write a semicolon between those of two databases, \
         and nothing for one that has none",
        each.len(),
    );
    Ok(each.into_iter().map(|urls| (!urls.is_empty()).then_some(urls)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_database_has_its_place() {
        let divided = divide("postgres://a/x, postgres://b/x", By::Modulo).unwrap();
        let urls: Vec<_> = divided.iter().map(|(place, url)| (place.own, place.map.shards(), *url)).collect();
        assert_eq!(urls, [(0, 2, "postgres://a/x"), (1, 2, "postgres://b/x")]);
        let one = "postgres://a,b/x?application_name=y";
        assert_eq!(divide(one, By::Hash).unwrap(), [(Place::ALONE, one)]);
        assert_eq!(divide("host=a,b user=c", By::Hash).unwrap().len(), 1);
        let many = vec!["postgres://h/x"; 65].join(",");
        assert!(divide(&many, By::Hash).unwrap_err().to_string().contains("64 at most"));
    }

    #[test]
    fn replicas_are_those_of_one_database_each() {
        assert_eq!(copies("a,b;;c", 3).unwrap(), [Some("a,b"), None, Some("c")]);
        assert_eq!(copies("a,b", 1).unwrap(), [Some("a,b")]);
        let told = copies("a,b", 2).unwrap_err().to_string();
        assert!(told.contains("of 1 databases, and there are 2"), "{told}");
    }
}
