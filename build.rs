//! Writes the bill of materials that goes into the binary: a CycloneDX 1.6 document of every crate
//! that Cargo.lock names and that the binary (not its tests) is made from.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::{env, fs};

use cargo_lock::{Lockfile, Package};
use serde_json::{Value, json};

fn main() {
    println!("cargo::rerun-if-changed=Cargo.lock");
    println!("cargo::rerun-if-changed=Cargo.toml");
    println!("cargo::rerun-if-changed=build.rs");
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let lock = Lockfile::load(Path::new(&root).join("Cargo.lock")).expect("Cargo.lock can be read");
    let manifest = fs::read_to_string(Path::new(&root).join("Cargo.toml")).expect("Cargo.toml");
    let manifest: toml::Table = manifest.parse().expect("Cargo.toml is TOML");
    let document = bill_of_materials(&lock, &manifest);
    let out = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("sbom.cdx.json");
    let text = serde_json::to_string_pretty(&document).expect("plain data");
    fs::write(out, text).expect("OUT_DIR can be written");
}

fn bill_of_materials(lock: &Lockfile, manifest: &toml::Table) -> Value {
    let own = lock.packages.iter().find(|package| package.name.as_str() == "strongroom");
    let own = own.expect("Cargo.lock names this package");
    let used = shipped(lock, own, manifest);
    let components: Vec<Value> = used.iter().map(|package| component(package)).collect();
    let dependencies: Vec<Value> =
        used.iter().chain([&own]).map(|package| edges(lock, package, &used)).collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": reference(own),
                "name": "strongroom",
                "version": own.version.to_string(),
                "licenses": [{"expression": "Apache-2.0 OR MIT"}],
            },
        },
        "components": components,
        "dependencies": dependencies,
    })
}

/// Crates that a feature brings in: they are not in a binary that is built without it.
const OF_FEATURES: [(&str, &str); 5] = [
    ("candle-kernels", "CARGO_FEATURE_CUDA"),
    ("cudarc", "CARGO_FEATURE_CUDA"),
    ("candle-metal-kernels", "CARGO_FEATURE_METAL"),
    ("objc2-foundation", "CARGO_FEATURE_METAL"),
    ("objc2-metal", "CARGO_FEATURE_METAL"),
];

fn is_left_out(name: &str) -> bool {
    OF_FEATURES.iter().any(|(known, feature)| *known == name && env::var_os(feature).is_none())
}

/// The packages that the binary is made from: what is reached from the package without its
/// dev-dependencies.
fn shipped<'a>(lock: &'a Lockfile, own: &'a Package, manifest: &toml::Table) -> Vec<&'a Package> {
    let names = |section: &str| -> BTreeSet<String> {
        let table = manifest.get(section).and_then(toml::Value::as_table);
        table.map(|table| table.keys().cloned().collect()).unwrap_or_default()
    };
    let (normal, build) = (names("dependencies"), names("build-dependencies"));
    let mut queue: VecDeque<&Package> = own
        .dependencies
        .iter()
        .filter(|one| normal.contains(one.name.as_str()) || build.contains(one.name.as_str()))
        .filter_map(|one| lock.packages.iter().find(|package| one.matches(package)))
        .collect();
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    while let Some(package) = queue.pop_front() {
        if is_left_out(package.name.as_str()) {
            continue;
        }
        if !seen.insert((package.name.as_str().to_owned(), package.version.clone())) {
            continue;
        }
        found.push(package);
        let next = |one| {
            lock.packages.iter().find(|package| cargo_lock::Dependency::matches(one, package))
        };
        queue.extend(package.dependencies.iter().filter_map(next));
    }
    found.sort_by(|one, other| {
        (one.name.as_str(), &one.version).cmp(&(other.name.as_str(), &other.version))
    });
    found
}

fn component(package: &Package) -> Value {
    let mut value = json!({
        "type": "library",
        "bom-ref": reference(package),
        "name": package.name.as_str(),
        "version": package.version.to_string(),
        "purl": reference(package),
    });
    if let Some(sum) = &package.checksum {
        value["hashes"] = json!([{"alg": "SHA-256", "content": sum.to_string()}]);
    }
    value
}

fn edges(lock: &Lockfile, package: &Package, used: &[&Package]) -> Value {
    let on: Vec<String> = package
        .dependencies
        .iter()
        .filter_map(|one| lock.packages.iter().find(|package| one.matches(package)))
        .filter(|package| {
            used.iter().any(|one| one.name == package.name && one.version == package.version)
        })
        .map(reference)
        .collect();
    json!({"ref": reference(package), "dependsOn": on})
}

/// The package URL (purl), which is the reference inside the document too.
fn reference(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name.as_str(), package.version)
}
