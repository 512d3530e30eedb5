//! Data keys: one small file each, wrapped under a key of the root, named by scope and generation.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::aead::{self, DataKey, DataKeyId};
use super::{Purpose, Scope, VaultError, files, root};
use crate::ids::UserId;
use crate::secret::SecretKey;

/// Head of a key file: generation, then the seals reserved so far; both bound into the wrapping.
const HEAD_BYTES: usize = 16;

/// Every data key, in memory.
pub(super) struct Keyring {
    directory: PathBuf,
    root: SecretKey,
    seals_max: u64,
    scopes: HashMap<Scope, Generations>,
}

/// The keys of one scope, oldest first.
type Generations = Vec<Arc<DataKey>>;

impl Keyring {
    /// Reads every key file; makes the system's keys where they are missing.
    pub(super) fn open(
        directory: &Path,
        root: SecretKey,
        seals_max: u64,
    ) -> Result<Self, VaultError> {
        let mut keyring =
            Self { directory: directory.to_owned(), root, seals_max, scopes: HashMap::new() };
        for folder in ["system", "people"] {
            files::make_directory(&directory.join(folder))?;
        }
        for purpose in Purpose::ALL {
            keyring.load(Scope::System(purpose))?;
            keyring.add(Scope::System(purpose))?;
        }
        for entry in fs::read_dir(directory.join("people"))? {
            let name = entry?.file_name();
            let user = name.to_str().and_then(|name| name.split('.').next()).map(UserId::parse);
            if let Some(Ok(user)) = user
                && !keyring.scopes.contains_key(&Scope::Person(user))
            {
                keyring.load(Scope::Person(user))?;
            }
        }
        Ok(keyring)
    }

    pub(super) fn root(&self) -> &SecretKey {
        &self.root
    }

    /// The newest key of a scope, with one seal taken from it; none where its reservation is used
    /// up or the scope has no key.
    pub(super) fn current(&self, scope: Scope) -> Option<Arc<DataKey>> {
        self.scopes.get(&scope)?.last().filter(|key| key.take()).cloned()
    }

    /// The key with this id.
    pub(super) fn key(&self, scope: Scope, id: DataKeyId) -> Option<Arc<DataKey>> {
        self.scopes.get(&scope)?.iter().find(|key| key.id == id).cloned()
    }

    /// A key derived from the scope's oldest data key, which rotation leaves in place.
    pub(super) fn derived(&self, purpose: Purpose, label: &str) -> Result<SecretKey, VaultError> {
        let keys = self.scopes.get(&Scope::System(purpose)).ok_or(VaultError::CannotOpen)?;
        let oldest = keys.first().ok_or(VaultError::CannotOpen)?;
        Ok(root::derive(oldest.expose(), None, label))
    }

    /// Makes the first key of a scope, if it has none.
    pub(super) fn add(&mut self, scope: Scope) -> Result<(), VaultError> {
        if self.scopes.get(&scope).is_some_and(|keys| !keys.is_empty()) {
            return Ok(());
        }
        self.generate(scope)
    }

    /// Reserves further seals for the newest key, or makes the next key where it has had enough,
    /// and takes one seal.
    pub(super) fn renew(&mut self, scope: Scope) -> Result<Arc<DataKey>, VaultError> {
        let keys = self.scopes.get(&scope).ok_or(VaultError::CannotOpen)?;
        let newest = Arc::clone(keys.last().ok_or(VaultError::CannotOpen)?);
        let generation = keys.len() as u64;
        let reserved = newest.reserved.load(Ordering::SeqCst);
        if reserved >= self.seals_max {
            self.generate(scope)?;
            return self.renew(scope);
        }
        // On disk first: after a crash the count is at most too high.
        let step = (self.seals_max / 64).max(1);
        let next = reserved.saturating_add(step).min(self.seals_max);
        self.store(scope, generation, next, &newest)?;
        newest.used.store(reserved + 1, Ordering::SeqCst);
        newest.reserved.store(next, Ordering::SeqCst);
        Ok(newest)
    }

    /// Writes every data key into `directory`, wrapped under `root`.
    pub(super) fn rewrap(&self, directory: &Path, root: &SecretKey) -> Result<(), VaultError> {
        let other = Self {
            directory: directory.to_owned(),
            root: root.clone(),
            seals_max: self.seals_max,
            scopes: HashMap::new(),
        };
        for (scope, keys) in &self.scopes {
            for (generation, key) in (1..).zip(keys) {
                other.store(*scope, generation, key.reserved.load(Ordering::SeqCst), key)?;
            }
        }
        Ok(())
    }

    /// Opens what `rewrap` wrote, as a start would, and holds every key against the one in memory.
    pub(super) fn check_rewrapped(
        &self,
        directory: &Path,
        root: &SecretKey,
    ) -> Result<(), VaultError> {
        let other = Self::open(directory, root.clone(), self.seals_max)?;
        let is_same = |scope: &Scope, keys: &Generations| {
            let there = other.scopes.get(scope).map_or(&[][..], Vec::as_slice);
            there.len() == keys.len()
                && keys.iter().zip(there).all(|(a, b)| a.id == b.id && a.expose() == b.expose())
        };
        if self.scopes.iter().all(|(scope, keys)| is_same(scope, keys)) {
            return Ok(());
        }
        Err(VaultError::Damaged(directory.to_owned()))
    }

    /// Goes on with another root key, under which the files are wrapped by now.
    pub(super) fn take_root(&mut self, root: SecretKey) {
        self.root = root;
    }

    /// Destroys a person's keys.
    pub(super) fn shred(&mut self, user: UserId) -> Result<(), VaultError> {
        let scope = Scope::Person(user);
        let count = self.scopes.get(&scope).map_or(0, Vec::len) as u64;
        for generation in 1..=count {
            let path = self.path(scope, generation);
            if path.exists() {
                files::destroy(&path)?;
            }
        }
        self.scopes.remove(&scope);
        Ok(())
    }

    fn generate(&mut self, scope: Scope) -> Result<(), VaultError> {
        let mut id = DataKeyId::default();
        getrandom::fill(&mut id).map_err(|_| VaultError::Random)?;
        let key = SecretKey::random().map_err(|_| VaultError::Random)?;
        let key = Arc::new(DataKey::new(id, key, 0));
        let generation = self.scopes.get(&scope).map_or(0, Vec::len) as u64 + 1;
        self.store(scope, generation, 0, &key)?;
        self.scopes.entry(scope).or_default().push(key);
        Ok(())
    }

    fn path(&self, scope: Scope, generation: u64) -> PathBuf {
        match scope {
            Scope::System(purpose) => {
                self.directory.join("system").join(format!("{}.{generation}.key", purpose.name()))
            }
            Scope::Person(user) => {
                self.directory.join("people").join(format!("{user}.{generation}.key"))
            }
        }
    }

    fn wrapping_key(&self, scope: Scope, id: DataKeyId) -> DataKey {
        let label = match scope {
            Scope::System(_) => "wrap/system",
            Scope::Person(_) => "wrap/people",
        };
        DataKey::new(id, root::derive(&self.root, None, label), 0)
    }

    fn store(
        &self,
        scope: Scope,
        generation: u64,
        reserved: u64,
        key: &DataKey,
    ) -> Result<(), VaultError> {
        let head = head(generation, reserved);
        let aad = [scope_name(scope).as_bytes(), &head].concat();
        let wrapped = aead::seal(&self.wrapping_key(scope, key.id), &aad, key.expose().expose())?;
        files::write(&self.path(scope, generation), &[&head[..], &wrapped].concat())
    }

    fn load(&mut self, scope: Scope) -> Result<(), VaultError> {
        let mut keys = Generations::new();
        loop {
            let generation = keys.len() as u64 + 1;
            let path = self.path(scope, generation);
            if !path.exists() {
                break;
            }
            let bytes = files::read(&path)?;
            let key = self.unwrap(scope, generation, &bytes).ok_or(VaultError::Damaged(path))?;
            keys.push(Arc::new(key));
        }
        if !keys.is_empty() {
            self.scopes.insert(scope, keys);
        }
        Ok(())
    }

    fn unwrap(&self, scope: Scope, generation: u64, bytes: &[u8]) -> Option<DataKey> {
        let (head_bytes, wrapped) = bytes.split_at_checked(HEAD_BYTES)?;
        let reserved = u64::from_be_bytes(head_bytes[8..].try_into().ok()?);
        if head_bytes != head(generation, reserved) {
            return None;
        }
        let id = aead::key_id(wrapped)?;
        let aad = [scope_name(scope).as_bytes(), head_bytes].concat();
        let opened = aead::open(&self.wrapping_key(scope, id), &aad, wrapped).ok()?;
        let key: [u8; 32] = opened.as_slice().try_into().ok()?;
        Some(DataKey::new(id, SecretKey::new(key), reserved))
    }
}

fn head(generation: u64, reserved: u64) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(&generation.to_be_bytes());
    head[8..].copy_from_slice(&reserved.to_be_bytes());
    head
}

fn scope_name(scope: Scope) -> String {
    match scope {
        Scope::System(purpose) => format!("system/{}", purpose.name()),
        Scope::Person(user) => format!("people/{user}"),
    }
}
