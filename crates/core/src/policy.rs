//! L4 authorisation: policies, and the one function that decides a connection.
//!
//! Meaning (wire facts §2, `istio.security`): a policy matches if any rule does; a rule if all its clauses
//! do; a clause if any of its matches does; a match if every field that is set holds. A matching DENY
//! refuses; else, if some ALLOW policy applies, one of them has to match. A policy that cannot be
//! understood is a value too: it denies whatever it applies to.

use crate::identity::Identity;
use crate::names::PolicyName;
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// One policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its key.
    pub name: PolicyName,
    /// What it applies to.
    pub scope: PolicyScope,
    /// What a match means.
    pub action: Action,
    /// Whether it counts, or is only reported.
    pub enforcement: Enforcement,
    /// What it matches.
    pub ruleset: Ruleset,
}

/// What a policy applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyScope {
    /// Every workload of the mesh.
    Global,
    /// Every workload of the policy's namespace.
    Namespace,
    /// The workloads that name it (`Workload::policies`).
    Selector,
}

/// What a matching policy means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The connection may be.
    Allow,
    /// The connection may not be.
    Deny,
}

/// Whether a policy counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Enforcement {
    /// It decides.
    Enforced,
    /// It is evaluated and reported, and decides nothing (`istio.io/dry-run`).
    DryRun,
}

/// The rules, or why there are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruleset {
    /// Any of these may match. An empty list never does.
    Rules(Vec<Rule>),
    /// Could not be understood; denies everything in scope and says so.
    Unusable(Arc<str>),
}

/// All clauses have to match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// Each with its alternatives. A rule without clauses matches everything.
    pub clauses: Vec<Clause>,
}

/// Any match will do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clause {
    /// The alternatives. A clause without any never matches.
    pub matches: Vec<Match>,
}

/// Every field that is set has to hold: some entry of a positive list, no entry of a `not_` list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of istio.security.Match in the wire facts")]
pub struct Match {
    pub namespaces: Vec<StringMatch>,
    pub not_namespaces: Vec<StringMatch>,
    pub service_accounts: Vec<ServiceAccountMatch>,
    pub not_service_accounts: Vec<ServiceAccountMatch>,
    pub principals: Vec<StringMatch>,
    pub not_principals: Vec<StringMatch>,
    pub source_ips: Vec<IpNet>,
    pub not_source_ips: Vec<IpNet>,
    pub destination_ips: Vec<IpNet>,
    pub not_destination_ips: Vec<IpNet>,
    pub destination_ports: Vec<u16>,
    pub not_destination_ports: Vec<u16>,
}

/// A service account that a source may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccountMatch {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub service_account: Arc<str>,
}

/// How a text is compared. A source without identity matches none of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StringMatch {
    /// Equal.
    Exact(Arc<str>),
    /// Begins with.
    Prefix(Arc<str>),
    /// Ends with.
    Suffix(Arc<str>),
    /// Is there at all.
    Presence,
}

/// What is known of a connection when it is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Where it comes from; the client's address, not a proxy's.
    pub source_ip: IpAddr,
    /// Who it comes from, if proven.
    pub source: Option<Identity>,
    /// The pod's address.
    pub destination_ip: IpAddr,
    /// The application's port.
    pub destination_port: u16,
}

/// The outcome, with the policy that brought it about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may be. `None`: no ALLOW policy applies.
    Allowed(Option<PolicyName>),
    /// It may not be.
    Denied(Denial),
}

/// Why a connection may not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// A DENY policy matches.
    Matched(PolicyName),
    /// ALLOW policies apply and none matches.
    NoneAllows,
    /// A policy in scope cannot be understood.
    Unusable(PolicyName, Arc<str>),
    /// The workload names a policy that discovery has not delivered.
    Missing(PolicyName),
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Matched(name) => write!(f, "denied by policy {name}"),
            Self::NoneAllows => f.write_str("policies apply and none allows it"),
            Self::Unusable(name, why) => write!(f, "policy {name} cannot be understood: {why}"),
            Self::Missing(name) => write!(f, "policy {name} applies and is not known yet"),
        }
    }
}

/// Proof that a connection passed the policy. Only [`Judgement::permit`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    policy: Option<PolicyName>,
}

impl Permit {
    /// The ALLOW policy that matched; `None` if none applies.
    pub fn policy(&self) -> Option<&PolicyName> {
        self.policy.as_ref()
    }
}

/// A verdict, and what the dry-run policies would have made of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What holds.
    pub verdict: Verdict,
    /// The verdict if all dry-run policies were enforced, where it differs from `verdict`.
    pub dry_run: Option<Verdict>,
}

impl Judgement {
    /// Proof of passage, or why not.
    ///
    /// # Errors
    /// The [`Denial`] of the verdict.
    pub fn permit(self) -> Result<Permit, Denial> {
        match self.verdict {
            Verdict::Allowed(policy) => Ok(Permit { policy }),
            Verdict::Denied(denial) => Err(denial),
        }
    }
}

/// A policy that applies to a workload, or the name of one that should and is not there.
#[derive(Debug, Clone)]
pub enum Applicable {
    /// It is known.
    Known(Arc<Policy>),
    /// It is named by the workload and not known.
    Missing(PolicyName),
}

/// Decides a connection by the policies that apply to its destination.
pub fn decide(policies: &[Applicable], connection: &Connection) -> Judgement {
    judge(policies, Applicable::header, |policy| policy.says(connection))
}

/// What a verdict needs to know of a policy before it asks what it says.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    /// Its key.
    pub name: &'a PolicyName,
    /// What a match means.
    pub action: Action,
    /// Whether it counts.
    pub enforcement: Enforcement,
}

/// What a policy says.
#[derive(Debug, Clone, Copy)]
pub enum Says<'a> {
    /// It matches.
    Matches,
    /// It does not.
    Nothing,
    /// It cannot be understood.
    Unusable(&'a Arc<str>),
    /// It is not known.
    Missing,
}

/// Decides by policies of any layer: a connection's and a request's verdict follow the same rules.
pub fn judge<'a, P>(
    policies: &'a [P],
    header: impl Fn(&'a P) -> Header<'a>,
    says: impl Fn(&'a P) -> Says<'a>,
) -> Judgement {
    let verdict = verdict(policies, &header, &says, false);
    let any_dry = policies.iter().any(|policy| header(policy).enforcement == Enforcement::DryRun);
    let dry_run =
        any_dry.then(|| self::verdict(policies, &header, &says, true)).filter(|dry| *dry != verdict);
    Judgement { verdict, dry_run }
}

fn verdict<'a, P>(
    policies: &'a [P],
    header: &impl Fn(&'a P) -> Header<'a>,
    says: &impl Fn(&'a P) -> Says<'a>,
    with_dry_run: bool,
) -> Verdict {
    let mut allows = false;
    let mut allowed_by = None;
    for policy in policies {
        let Header { name, action, enforcement } = header(policy);
        if enforcement == Enforcement::DryRun && !with_dry_run {
            continue;
        }
        let matches = match says(policy) {
            Says::Matches => true,
            Says::Nothing => false,
            Says::Unusable(why) => return Verdict::Denied(Denial::Unusable(name.clone(), why.clone())),
            Says::Missing => return Verdict::Denied(Denial::Missing(name.clone())),
        };
        match action {
            Action::Deny if matches => return Verdict::Denied(Denial::Matched(name.clone())),
            Action::Deny => {}
            Action::Allow => {
                allows = true;
                if matches && allowed_by.is_none() {
                    allowed_by = Some(name.clone());
                }
            }
        }
    }
    if allows && allowed_by.is_none() {
        return Verdict::Denied(Denial::NoneAllows);
    }
    Verdict::Allowed(allowed_by)
}

impl Applicable {
    fn header(&self) -> Header<'_> {
        match self {
            Self::Known(policy) => {
                Header { name: &policy.name, action: policy.action, enforcement: policy.enforcement }
            }
            Self::Missing(name) => Header { name, action: Action::Deny, enforcement: Enforcement::Enforced },
        }
    }

    fn says(&self, connection: &Connection) -> Says<'_> {
        match self {
            Self::Missing(_) => Says::Missing,
            Self::Known(policy) => match &policy.ruleset {
                Ruleset::Unusable(why) => Says::Unusable(why),
                Ruleset::Rules(rules) if rules.iter().any(|rule| rule.matches(connection)) => Says::Matches,
                Ruleset::Rules(_) => Says::Nothing,
            },
        }
    }
}

impl Rule {
    fn matches(&self, connection: &Connection) -> bool {
        self.clauses.iter().all(|clause| clause.matches.iter().any(|one| one.matches(connection)))
    }
}

impl Match {
    fn matches(&self, connection: &Connection) -> bool {
        let source = connection.source.as_ref();
        let namespace = |want: &StringMatch| source.is_some_and(|who| want.matches(who.namespace()));
        let principal = |want: &StringMatch| source.is_some_and(|who| want.matches_principal(who));
        let account = |want: &ServiceAccountMatch| source.is_some_and(|who| want.matches(who));
        holds(&self.namespaces, &self.not_namespaces, namespace)
            && holds(&self.principals, &self.not_principals, principal)
            && holds(&self.service_accounts, &self.not_service_accounts, account)
            && holds(&self.source_ips, &self.not_source_ips, |net| net.contains(&connection.source_ip))
            && holds(&self.destination_ips, &self.not_destination_ips, |net| {
                net.contains(&connection.destination_ip)
            })
            && holds(&self.destination_ports, &self.not_destination_ports, |port| {
                *port == connection.destination_port
            })
    }
}

/// Whether some entry of a positive list passes a test (or the list is empty), and no entry of its `not_` list does.
pub fn holds<T>(some_of: &[T], none_of: &[T], test: impl Fn(&T) -> bool) -> bool {
    (some_of.is_empty() || some_of.iter().any(&test)) && !none_of.iter().any(&test)
}

impl ServiceAccountMatch {
    /// Whether it is this one.
    pub fn matches(&self, identity: &Identity) -> bool {
        *self.namespace == *identity.namespace() && *self.service_account == *identity.service_account()
    }
}

impl StringMatch {
    /// Whether the text is as it should be.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(want) => text == &**want,
            Self::Prefix(want) => text.starts_with(&**want),
            Self::Suffix(want) => text.ends_with(&**want),
            Self::Presence => !text.is_empty(),
        }
    }

    fn matches_principal(&self, identity: &Identity) -> bool {
        matches!(self, Self::Presence) || self.matches(&identity.principal().to_string())
    }
}

#[cfg(test)]
mod tests;
