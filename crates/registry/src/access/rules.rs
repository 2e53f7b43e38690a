//! Rules: who may do what to which repositories, and the file that has them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::pattern::Pattern;
use super::subject::{Action, Identity};

/// What may be done without a rules file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Nothing.
    None,
    /// To pull and to list.
    Pull,
    /// Everything.
    All,
}

impl Leave {
    fn has(self, action: Action) -> bool {
        match self {
            Self::None => false,
            Self::Pull => matches!(action, Action::Pull | Action::List),
            Self::All => true,
        }
    }
}

/// Who may do what. Rules give rights and take none away: their order means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// There is no file: by the way somebody has shown who he is.
    Plain { anonymous: Leave },
    Written {
        groups: BTreeMap<String, BTreeSet<String>>,
        rules: Vec<Rule>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    repositories: Vec<Pattern>,
    actions: BTreeSet<Action>,
    subjects: Vec<Subject>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    Anonymous,
    Authenticated,
    /// Of the password file.
    User(String),
    /// A group of the file's own.
    Group(String),
    /// A user of the cluster, as the API server has it; ServiceAccounts too.
    ClusterUser(String),
    ClusterGroup(String),
    Certificate(String),
}

impl Rules {
    /// The rules where no file has any: those of the password file and those with a certificate may
    /// do everything, ServiceAccounts may pull, and the anonymous what is said here.
    pub fn plain(anonymous: Leave) -> Self {
        Self(Kind::Plain { anonymous })
    }

    /// Reads a rules file.
    ///
    /// # Errors
    /// [`Wrong`], with the line and the field.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let file: File = serde_saphyr::from_str(text).map_err(|error| Wrong {
            line: error.location().map(|it| it.line()),
            what: plain(&error),
        })?;
        expect("apiVersion", &file.api_version, "narthex.dev/v1alpha1")?;
        expect("kind", &file.kind, "RegistryAccess")?;
        let groups = groups(file.groups)?;
        let mut rules = Vec::with_capacity(file.rules.len());
        for (number, rule) in file.rules.iter().enumerate() {
            rules.push(read_rule(number, rule, &groups)?);
        }
        Ok(Self(Kind::Written { groups, rules }))
    }

    /// Whether somebody may do something to a repository.
    pub fn allow(&self, who: &Identity, action: Action, repository: &str) -> bool {
        match &self.0 {
            Kind::Plain { anonymous } => plain_leave(who, *anonymous).has(action),
            Kind::Written { groups, rules } => rules.iter().any(|rule| {
                rule.actions.contains(&action)
                    && rule.subjects.iter().any(|it| it.is(who, groups))
                    && rule.repositories.iter().any(|it| it.matches(repository))
            }),
        }
    }

    /// Whether there is a repository, by the rules alone, to which somebody may do something.
    pub fn allow_any(&self, who: &Identity, action: Action) -> bool {
        match &self.0 {
            Kind::Plain { anonymous } => plain_leave(who, *anonymous).has(action),
            Kind::Written { groups, rules } => rules.iter().any(|rule| {
                rule.actions.contains(&action) && rule.subjects.iter().any(|it| it.is(who, groups))
            }),
        }
    }

    /// Whether somebody may do something to every repository, by one rule.
    pub fn allow_all(&self, who: &Identity, action: Action) -> bool {
        match &self.0 {
            Kind::Plain { anonymous } => plain_leave(who, *anonymous).has(action),
            Kind::Written { groups, rules } => rules.iter().any(|rule| {
                rule.actions.contains(&action)
                    && rule.subjects.iter().any(|it| it.is(who, groups))
                    && rule.repositories.iter().any(Pattern::is_everything)
            }),
        }
    }

    /// Whether a rule is about a group of the cluster.
    pub(crate) fn names_group(&self, group: &str) -> bool {
        match &self.0 {
            Kind::Plain { .. } => false,
            Kind::Written { rules, .. } => {
                let mut subjects = rules.iter().flat_map(|rule| &rule.subjects);
                subjects.any(|it| matches!(it, Subject::ClusterGroup(name) if name == group))
            }
        }
    }
}

fn plain_leave(who: &Identity, anonymous: Leave) -> Leave {
    match who {
        Identity::Anonymous => anonymous,
        Identity::User(_) | Identity::Certificate(_) => Leave::All,
        Identity::Cluster { .. } if anonymous == Leave::All => Leave::All,
        Identity::Cluster { .. } => Leave::Pull,
    }
}

impl Subject {
    fn is(&self, who: &Identity, groups: &BTreeMap<String, BTreeSet<String>>) -> bool {
        match (self, who) {
            // Whoever has shown who he is loses nothing by it.
            (Self::Anonymous, _) => true,
            (_, Identity::Anonymous) => false,
            (Self::Authenticated, _) => true,
            (Self::User(name), Identity::User(user)) => name == user,
            (Self::Group(group), Identity::User(user)) => {
                groups.get(group).is_some_and(|it| it.contains(user))
            }
            (Self::ClusterUser(user), Identity::Cluster { name, .. }) => user == name,
            (Self::ClusterGroup(group), Identity::Cluster { groups, .. }) => groups.contains(group),
            (Self::Certificate(name), Identity::Certificate(names)) => names.contains(name),
            _ => false,
        }
    }
}

/// What is wrong with a rules file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    line: Option<u64>,
    what: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for Wrong {}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: Spanned<String>,
    kind: Spanned<String>,
    #[serde(default)]
    groups: BTreeMap<String, Vec<Spanned<String>>>,
    #[serde(default)]
    rules: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    repositories: Vec<Spanned<String>>,
    actions: Vec<Spanned<String>>,
    subjects: Vec<Spanned<String>>,
}

/// The error's first line: what follows is the text around it.
fn plain(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

fn at(value: &Spanned<String>, field: &str, what: impl fmt::Display) -> Wrong {
    Wrong {
        line: Some(value.referenced.line()),
        what: format!("{field}: {what}"),
    }
}

fn expect(field: &str, value: &Spanned<String>, right: &str) -> Result<(), Wrong> {
    match value.value == right {
        true => Ok(()),
        false => Err(at(
            value,
            field,
            format!("`{}` has to be `{right}`", value.value),
        )),
    }
}

fn groups(
    raw: BTreeMap<String, Vec<Spanned<String>>>,
) -> Result<BTreeMap<String, BTreeSet<String>>, Wrong> {
    let mut groups = BTreeMap::new();
    for (name, users) in raw {
        if name.is_empty() || name.contains(':') {
            return Err(Wrong {
                line: users.first().map(|it| it.referenced.line()),
                what: format!("groups: `{name}` is no group's name: it is not empty, without `:`"),
            });
        }
        for user in &users {
            if user.value.is_empty() || user.value.contains(':') {
                let what = format!("`{}` is no user of a password file", user.value);
                return Err(at(user, &format!("groups.{name}"), what));
            }
        }
        groups.insert(name, users.into_iter().map(|it| it.value).collect());
    }
    Ok(groups)
}

fn read_rule(
    number: usize,
    raw: &RawRule,
    groups: &BTreeMap<String, BTreeSet<String>>,
) -> Result<Rule, Wrong> {
    let mut rule = Rule {
        repositories: Vec::new(),
        actions: BTreeSet::new(),
        subjects: Vec::new(),
    };
    for (index, it) in raw.repositories.iter().enumerate() {
        let field = format!("rules[{number}].repositories[{index}]");
        let pattern = Pattern::parse(&it.value).map_err(|what| at(it, &field, what))?;
        rule.repositories.push(pattern);
    }
    for (index, it) in raw.actions.iter().enumerate() {
        if it.value == "*" {
            rule.actions.extend(Action::ALL);
            continue;
        }
        let action = Action::named(&it.value).ok_or_else(|| {
            let field = format!("rules[{number}].actions[{index}]");
            let what = "is no action: write pull, push, delete, list, or * for all";
            at(it, &field, format!("`{}` {what}", it.value))
        })?;
        rule.actions.insert(action);
    }
    for (index, it) in raw.subjects.iter().enumerate() {
        let field = format!("rules[{number}].subjects[{index}]");
        let subject = read_subject(&it.value, groups).map_err(|what| at(it, &field, what))?;
        rule.subjects.push(subject);
    }
    for (name, is_empty) in [
        ("repositories", rule.repositories.is_empty()),
        ("actions", rule.actions.is_empty()),
        ("subjects", rule.subjects.is_empty()),
    ] {
        if is_empty {
            return Err(Wrong {
                line: None,
                what: format!("rules[{number}].{name}: is empty, so that the rule is nobody's"),
            });
        }
    }
    Ok(rule)
}

fn read_subject(
    text: &str,
    groups: &BTreeMap<String, BTreeSet<String>>,
) -> Result<Subject, String> {
    match text {
        "anonymous" => return Ok(Subject::Anonymous),
        "authenticated" => return Ok(Subject::Authenticated),
        _ => {}
    }
    let wrong = || {
        format!(
            "`{text}` is no subject: write anonymous, authenticated, user:NAME, group:NAME, \
             serviceaccount:NAMESPACE/NAME, cluster-user:NAME, cluster-group:NAME or \
             certificate:NAME"
        )
    };
    if text.starts_with("system:serviceaccount:") {
        return Ok(Subject::ClusterUser(text.to_owned()));
    }
    let (kind, name) = text.split_once(':').ok_or_else(wrong)?;
    let name = name.trim();
    if name.is_empty() {
        return Err(wrong());
    }
    match kind {
        "user" if !name.contains(':') => Ok(Subject::User(name.to_owned())),
        "user" => Err(format!(
            "`{name}` is no user of a password file; one of the cluster is cluster-user:{name}"
        )),
        "group" if name.starts_with("system:") => Ok(Subject::ClusterGroup(name.to_owned())),
        "group" if groups.contains_key(name) => Ok(Subject::Group(name.to_owned())),
        "group" => Err(format!(
            "`{name}` is no group of this file's `groups`; one of the cluster is \
             cluster-group:{name}"
        )),
        "serviceaccount" => {
            let (namespace, name) = name
                .split_once('/')
                .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty())
                .ok_or_else(wrong)?;
            let user = format!("system:serviceaccount:{namespace}:{name}");
            Ok(Subject::ClusterUser(user))
        }
        "cluster-user" => Ok(Subject::ClusterUser(name.to_owned())),
        "cluster-group" => Ok(Subject::ClusterGroup(name.to_owned())),
        "certificate" => Ok(Subject::Certificate(name.to_owned())),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: narthex.dev/v1alpha1\nkind: RegistryAccess\n";

    fn rules(text: &str) -> Rules {
        Rules::parse(&format!("{HEAD}{text}")).expect("right")
    }

    fn user(name: &str) -> Identity {
        Identity::User(name.to_owned())
    }

    fn service_account(namespace: &str, name: &str) -> Identity {
        Identity::Cluster {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ],
        }
    }

    #[test]
    fn a_rule_gives_its_subjects_its_actions_on_its_repositories_alone() {
        let rules = rules(
            "groups: {team: [alice, bob]}\n\
             rules:\n\
             - {repositories: ['public/**'], actions: [pull], subjects: [anonymous]}\n\
             - {repositories: ['team/**'], actions: [pull, push], subjects: ['group:team']}\n\
             - {repositories: ['**'], actions: ['*'], subjects: ['user:root']}\n\
             - {repositories: ['ci/*'], actions: [push], subjects: ['serviceaccount:ci/builder']}\n\
             - {repositories: ['ci/*'], actions: [pull], subjects: ['group:system:serviceaccounts:ci']}\n\
             - {repositories: ['edge/*'], actions: [pull], subjects: ['certificate:edge.example']}\n",
        );
        let allowed = |who: &Identity, action, name| rules.allow(who, action, name);
        assert!(allowed(&Identity::Anonymous, Action::Pull, "public/a"));
        assert!(allowed(&user("eve"), Action::Pull, "public/a"));
        assert!(!allowed(&Identity::Anonymous, Action::Push, "public/a"));
        assert!(!allowed(&Identity::Anonymous, Action::Pull, "team/a"));
        assert!(allowed(&user("alice"), Action::Push, "team/a"));
        assert!(!allowed(&user("alice"), Action::Delete, "team/a"));
        assert!(!allowed(&user("eve"), Action::Pull, "team/a"));
        assert!(allowed(&user("root"), Action::Delete, "team/a"));
        let builder = service_account("ci", "builder");
        assert!(allowed(&builder, Action::Push, "ci/app"));
        assert!(allowed(&builder, Action::Pull, "ci/app"));
        let other = service_account("ci", "other");
        assert!(!allowed(&other, Action::Push, "ci/app"));
        assert!(allowed(&other, Action::Pull, "ci/app"));
        let edge = Identity::Certificate(vec!["x".to_owned(), "edge.example".to_owned()]);
        assert!(allowed(&edge, Action::Pull, "edge/app"));
        assert!(!allowed(&user("edge.example"), Action::Pull, "edge/app"));
    }

    #[test]
    fn a_name_of_one_source_is_not_one_of_another() {
        let rules = rules(
            "groups: {team: [alice]}\n\
             rules: [{repositories: ['**'], actions: [pull], subjects: ['user:alice', 'group:team']}]",
        );
        let of_cluster = Identity::Cluster {
            name: "alice".to_owned(),
            groups: vec!["team".to_owned()],
        };
        assert!(!rules.allow(&of_cluster, Action::Pull, "a"));
        let certificate = Identity::Certificate(vec!["alice".to_owned()]);
        assert!(!rules.allow(&certificate, Action::Pull, "a"));
        assert!(rules.allow(&user("alice"), Action::Pull, "a"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_field() {
        for (text, line, part) in [
            (
                "rules:\n- repositories: [A]\n  actions: [pull]\n  subjects: [anonymous]",
                4,
                "rules[0].repositories[0]",
            ),
            (
                "rules:\n- repositories: [a]\n  actions: [pul]\n  subjects: [anonymous]",
                5,
                "rules[0].actions[0]: `pul` is no action",
            ),
            (
                "rules:\n- repositories: [a]\n  actions: [pull]\n  subjects: [bob]",
                6,
                "rules[0].subjects[0]: `bob` is no subject",
            ),
            (
                "rules:\n- repositories: [a]\n  actions: [pull]\n  subjects: ['group:x']",
                6,
                "no group of this file",
            ),
            (
                "rules:\n- repositories: [a]\n  action: [pull]\n  subjects: []",
                5,
                "action",
            ),
        ] {
            let wrong = Rules::parse(&format!("{HEAD}{text}")).expect_err(text);
            assert_eq!(wrong.line, Some(line), "{wrong}");
            assert!(wrong.to_string().contains(part), "{wrong}");
        }
        let other = Rules::parse("apiVersion: narthex.dev/v1alpha1\nkind: ImageList\n");
        assert!(
            other
                .expect_err("another kind")
                .to_string()
                .contains("line 2: kind:")
        );
        let empty =
            format!("{HEAD}rules: [{{repositories: [a], actions: [], subjects: [anonymous]}}]");
        assert!(
            Rules::parse(&empty)
                .expect_err("empty")
                .to_string()
                .contains("rules[0].actions")
        );
    }

    #[test]
    fn without_a_file_service_accounts_pull_and_users_do_everything() {
        let rules = Rules::plain(Leave::None);
        assert!(rules.allow(&user("alice"), Action::Delete, "a"));
        assert!(rules.allow(&service_account("a", "b"), Action::Pull, "a"));
        assert!(!rules.allow(&service_account("a", "b"), Action::Push, "a"));
        assert!(!rules.allow(&Identity::Anonymous, Action::Pull, "a"));
        let open = Rules::plain(Leave::Pull);
        assert!(open.allow(&Identity::Anonymous, Action::Pull, "a"));
        assert!(!open.allow(&Identity::Anonymous, Action::Push, "a"));
    }
}
