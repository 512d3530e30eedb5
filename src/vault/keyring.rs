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
    /// Makes the keys of a new vault, in place of what an attempt that was cut off has left.
    pub(super) fn create(
        directory: &Path,
        root: SecretKey,
        seals_max: u64,
    ) -> Result<Self, VaultError> {
        let mut keyring = Self::empty(directory, root, seals_max)?;
        for purpose in Purpose::ALL {
            keyring.generate(Scope::System(purpose))?;
        }
        Ok(keyring)
    }

    /// Reads every key file. A key of the system that is missing is not made anew: what it sealed
    /// or bound would be taken for never having been there.
    pub(super) fn open(
        directory: &Path,
        root: SecretKey,
        seals_max: u64,
    ) -> Result<Self, VaultError> {
        let mut keyring = Self::empty(directory, root, seals_max)?;
        for purpose in Purpose::ALL {
            let scope = Scope::System(purpose);
            keyring.load(scope)?;
            if !keyring.scopes.contains_key(&scope) {
                return Err(VaultError::Damaged(keyring.path(scope, 1)));
            }
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

    fn empty(directory: &Path, root: SecretKey, seals_max: u64) -> Result<Self, VaultError> {
        for folder in ["system", "people"] {
            files::make_directory(&directory.join(folder))?;
        }
        Ok(Self { directory: directory.to_owned(), root, seals_max, scopes: HashMap::new() })
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

    /// Makes the first key of a scope, if it has none; says whether it did.
    pub(super) fn add(&mut self, scope: Scope) -> Result<bool, VaultError> {
        if self.scopes.get(&scope).is_some_and(|keys| !keys.is_empty()) {
            return Ok(false);
        }
        self.generate(scope)?;
        Ok(true)
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

    /// Destroys a person's keys: every file of theirs that is there, also one that a destruction
    /// which was cut off has left without those before it.
    pub(super) fn shred(&mut self, user: UserId) -> Result<(), VaultError> {
        let start = format!("{user}.");
        for entry in fs::read_dir(self.directory.join("people"))? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(start.as_bytes()) {
                files::destroy(&entry.path())?;
            }
        }
        self.scopes.remove(&Scope::Person(user));
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
