//! The authority's folder: made, found again, rotated, damaged.

use std::os::unix::fs::PermissionsExt as _;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256,
};
use tempfile::TempDir;
use weft_core::identity::Identity;
use weft_pki::{CertificateRequest, Leaf, Usage};

use super::*;
use crate::grant::Granted;
use crate::plugged::{self, Cacerts};
use crate::rotation::Phase;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn later(seconds: u64) -> SystemTime {
    now() + Duration::from_secs(seconds)
}

fn settings() -> CaSettings {
    let mut settings = CaSettings::new("ours");
    settings.authority.leaf_lifetime_max = Duration::from_secs(100);
    settings
}

fn leaf_of(authority: &Authority, at: SystemTime) -> Leaf {
    let identity = "spiffe://ours/ns/shop/sa/web".parse::<Identity>().unwrap();
    let request = CertificateRequest::generate(&identity).unwrap();
    let granted = Granted::without_a_caller(identity);
    let chain = authority.sign(request.csr_pem(), &granted, None, at).unwrap();
    request.complete(&chain).unwrap()
}

fn open(folder: &TempDir) -> Result<CaDirectory, OpenError> {
    CaDirectory::open_or_create(&folder.path().join("ca"), settings(), now())
}

fn accepts(authority: &Authority, leaf: &Leaf, at: SystemTime) -> bool {
    authority.trust().verify_peer(leaf.chain(), Usage::Server, at).is_ok()
}

#[test]
fn a_root_is_made_once_and_kept() {
    let folder = TempDir::new().unwrap();
    let ca = open(&folder).unwrap();
    let leaf = leaf_of(&ca.authority(), now());
    assert!(matches!(open(&folder), Err(OpenError::InUse { .. })), "one writer at a time");
    drop(ca);
    let again = open(&folder).unwrap();
    assert!(accepts(&again.authority(), &leaf, now()));
    let home = folder.path().join("ca");
    assert_eq!(fs::read_to_string(home.join(ROOTS_FILE)).unwrap(), again.authority().roots_pem());
    let key = root_folder(&home, again.rotation().signing()).join(KEY_FILE);
    assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&home).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(!format!("{again:?}").contains("PRIVATE"));
}

#[test]
fn a_rotation_never_leaves_a_leaf_without_a_root() {
    let folder = TempDir::new().unwrap();
    let mut ca = open(&folder).unwrap();
    let first = ca.authority();
    let old_leaf = leaf_of(&first, now());
    assert!(matches!(ca.switch_root(now()), Err(RotateError::Step(StepError::WrongPhase { .. }))));

    let announced = ca.announce_root(now()).unwrap();
    assert_eq!(ca.rotation().phase(), Phase::Announced);
    assert_eq!(announced.trust().roots("ours").count(), 2);
    let between = leaf_of(&announced, now());
    assert!(accepts(&first, &between, now()), "the old root still signs");
    assert!(matches!(ca.announce_root(now()), Err(RotateError::Step(StepError::WrongPhase { .. }))));

    // Each step survives a restart.
    drop(ca);
    let mut ca = open(&folder).unwrap();
    let switched = ca.switch_root(later(10)).unwrap();
    let new_leaf = leaf_of(&switched, later(10));
    assert!(!accepts(&first, &new_leaf, later(10)), "the new root signs");
    assert!(accepts(&announced, &new_leaf, later(10)), "who had the announcement knows it");
    assert!(accepts(&switched, &between, later(10)), "the old leaf is still good");

    let early = ca.drop_old_root(DropRoot::WhenUnused, later(110));
    let Err(RotateError::Step(StepError::StillInUse { until })) = early else { panic!("{early:?}") };
    assert_eq!(until, later(111));
    let steady = ca.drop_old_root(DropRoot::WhenUnused, until).unwrap();
    assert_eq!(steady.trust().roots("ours").count(), 1);
    assert!(!accepts(&steady, &old_leaf, now()));
    let roots = folder.path().join("ca/roots");
    assert_eq!(fs::read_dir(&roots).unwrap().count(), 1, "the old key is gone");
    drop(ca);
    let ca = open(&folder).unwrap();
    assert_eq!((ca.rotation().phase(), ca.authority().trust()), (Phase::Steady, steady.trust()));
}

#[test]
fn a_root_that_is_not_to_be_trusted_goes_at_once() {
    let folder = TempDir::new().unwrap();
    let mut ca = open(&folder).unwrap();
    ca.announce_root(now()).unwrap();
    ca.switch_root(now()).unwrap();
    let steady = ca.drop_old_root(DropRoot::AtOnce, now()).unwrap();
    assert_eq!(steady.trust().roots("ours").count(), 1);
}

#[test]
fn a_damaged_folder_is_refused_and_left_alone() {
    type Damage = fn(&Path, &Path);
    let cases: [(&str, Damage, &str); 8] = [
        ("no state", |home, _| fs::remove_file(home.join(STATE_FILE)).unwrap(), "StateMissing"),
        ("garbled state", |home, _| fs::write(home.join(STATE_FILE), "{").unwrap(), "State {"),
        (
            "another version",
            |home, _| edit(&home.join(STATE_FILE), "\"version\": 1", "\"version\": 2"),
            "State {",
        ),
        (
            "a phase that does not fit",
            |home, _| edit(&home.join(STATE_FILE), "steady", "switched"),
            "State {",
        ),
        (
            "a path for a root",
            |home, root| {
                let id = root.file_name().unwrap().to_str().unwrap();
                edit(&home.join(STATE_FILE), id, "../evil!");
            },
            "State {",
        ),
        ("no key", |_, root| fs::remove_file(root.join(KEY_FILE)).unwrap(), "Read"),
        (
            "a key that all may read",
            |_, root| {
                fs::set_permissions(root.join(KEY_FILE), fs::Permissions::from_mode(0o644)).unwrap();
            },
            "Read",
        ),
        ("a garbled certificate", |_, root| fs::write(root.join(ROOTS_FILE), "x").unwrap(), "Authority"),
    ];
    for (case, damage, want) in cases {
        let folder = TempDir::new().unwrap();
        let home = folder.path().join("ca");
        let root = root_folder(&home, open(&folder).unwrap().rotation().signing());
        damage(&home, &root);
        let got = open(&folder);
        let shown = format!("{got:?}");
        assert!(shown.starts_with(&format!("Err({want}")), "{case}: {shown}");
        assert_eq!(fs::read_dir(home.join("roots")).unwrap().count(), 1, "{case}: no fresh root");
    }
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

/// Certificate and key of an authority, as an operator makes them.
fn operators(
    name: &str,
    under: Option<&Issuer<'static, KeyPair>>,
) -> (String, String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, "A Company, Inc.");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let cert = match under {
        Some(issuer) => params.signed_by(&key, issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    (cert.pem(), key.serialize_pem(), Issuer::new(params, key))
}

#[test]
fn an_intermediate_can_be_plugged_in() {
    let (root, _, root_issuer) = operators("root", None);
    let (policy, _, policy_issuer) = operators("policy", Some(&root_issuer));
    let (cert, key, _) = operators("mesh", Some(&policy_issuer));
    let (other_root, other_key, _) = operators("other", None);
    let (whole, both) = (cert.clone() + &policy + &root, root.clone() + &other_root);
    for (case, files, want) in [
        ("as Istio lays it out", [&cert, &key, &whole, &root], None),
        ("the chain above the intermediate only", [&cert, &key, &policy, &root], None),
        ("two roots", [&cert, &key, &whole, &both], None),
        ("a link is missing", [&cert, &key, &cert, &root], Some("Refused")),
        ("another root", [&cert, &key, &whole, &other_root], Some("Refused")),
        ("another key", [&cert, &other_key, &whole, &root], Some("KeyMismatch")),
    ] {
        let folder = TempDir::new().unwrap();
        write_cacerts(folder.path(), files);
        let got = Cacerts::open(folder.path(), settings().authority, now()).map(|(_, authority)| authority);
        match want {
            Some(want) => {
                let shown = format!("{got:?}");
                assert!(shown.contains(want), "{case}: {shown}");
            }
            None => {
                let authority = got.expect(case);
                let leaf = leaf_of(&authority, now());
                assert_eq!(leaf.chain().len(), 3, "{case}");
                assert!(accepts(&authority, &leaf, now()), "{case}");
            }
        }
    }
    let empty = TempDir::new().unwrap();
    let got = Cacerts::open(empty.path(), settings().authority, now());
    assert!(matches!(got, Err(plugged::PluggedError::Read { .. })), "{got:?}");
}

fn write_cacerts(folder: &Path, files: [&String; 4]) {
    let names = [plugged::CERT_FILE, plugged::KEY_FILE, plugged::CHAIN_FILE, plugged::ROOTS_FILE];
    for (name, text) in names.iter().zip(files) {
        fs::write(folder.join(name), text).unwrap();
    }
}

#[test]
fn what_the_operator_changes_is_taken_up_and_what_is_broken_is_not() {
    let (old_root, old_root_key, old_issuer) = operators("old", None);
    let (old_cert, old_key, _) = operators("old mesh", Some(&old_issuer));
    let (new_root, _, new_issuer) = operators("new", None);
    let (new_cert, new_key, _) = operators("new mesh", Some(&new_issuer));
    let both = new_root.clone() + &old_root;
    let folder = TempDir::new().unwrap();
    write_cacerts(folder.path(), [&old_cert, &old_key, &old_cert, &old_root]);
    let (mut cacerts, first) = Cacerts::open(folder.path(), settings().authority, now()).unwrap();
    let leaf = leaf_of(&first, now());
    assert!(cacerts.read_again(now()).unwrap().is_none(), "nothing is new");
    for (case, files) in [
        ("another key", [&old_cert, &old_root_key, &old_cert, &old_root]),
        ("half of the change", [&new_cert, &old_key, &old_cert, &old_root]),
        ("roots that do not vouch for it", [&old_cert, &old_key, &old_cert, &new_root]),
    ] {
        write_cacerts(folder.path(), files);
        let got = cacerts.read_again(now());
        assert!(matches!(got, Err(plugged::PluggedError::Authority { .. })), "{case}: {got:?}");
    }
    write_cacerts(folder.path(), [&old_cert, &old_key, &old_cert, &old_root]);
    assert!(cacerts.read_again(now()).unwrap().is_none(), "it is as it was");
    write_cacerts(folder.path(), [&new_cert, &new_key, &new_cert, &both]);
    let second = cacerts.read_again(now()).unwrap().expect("it is new");
    assert!(accepts(&second, &leaf, now()), "both roots are trusted");
    assert!(!accepts(&first, &leaf_of(&second, now()), now()), "another root signs");
    assert!(cacerts.read_again(now()).unwrap().is_none(), "it is taken");
}
