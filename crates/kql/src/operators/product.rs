//! Functions of the product that give rows: they are queries of ours over the estate's own tables.

use crate::Span;
use crate::bind::environment::{Environment, Function, Value};
use crate::bind::{Binder, Bound};
use crate::lower::relation::{Field, Relation};
use crate::lower::{fold, source};
use crate::syntax::ast::{Expr, ExprKind, Literal, Name, StatementKind};
use std::rc::Rc;

/// A function of the product.
pub(crate) struct Product {
    /// Its name.
    pub name: &'static str,
    /// Its definition in the language. A parameter with a `_` before its name takes a column's name.
    text: &'static str,
    /// What its scalar parameters are where nothing is given.
    parameters: &'static [&'static str],
}

/// All of them.
const PRODUCTS: &[Product] = &[
    Product { name: "FileProfile", text: "", parameters: &["SHA1", "100"] },
    Product { name: "DeviceFromIP", text: DEVICE_FROM_IP, parameters: &["IP", "Timestamp"] },
    Product { name: "AssignedIPAddresses", text: ASSIGNED_ADDRESSES, parameters: &["DeviceId", "Timestamp"] },
    Product { name: "SeenBy", text: SEEN_BY, parameters: &["DeviceId"] },
];

/// The device that had an address last at a time: within an hour before it, as the reports of network adapters say.
const DEVICE_FROM_IP: &str = "(T:(key:string, time:datetime)) {
    let held = DeviceNetworkInfo
        | mv-expand address = IPAddresses
        | project key = tostring(address.IPAddress), DeviceId, seen = Timestamp;
    T | distinct key, time
      | join kind=inner held on key
      | where isnull(time) or seen <= time
      | summarize arg_max(seen, DeviceId) by key, time
      | project IP = key, DeviceId
}";

/// The addresses of a device by its last report before a time.
const ASSIGNED_ADDRESSES: &str = "(T:(key:string, time:datetime)) {
    T | distinct key, time
      | join kind=inner (
            DeviceNetworkInfo
            | extend key = DeviceId
            | union (DeviceNetworkInfo | extend key = DeviceName)
        ) on key
      | where isnull(time) or Timestamp <= time
      | summarize arg_max(Timestamp, IPAddresses, NetworkAdapterType, ConnectedNetworks) by key, time, NetworkAdapterName
      | mv-expand address = IPAddresses
      | project Timestamp, IPAddress = tostring(address.IPAddress), IPType = tostring(address.AddressType),
            NetworkAdapterType, ConnectedNetworks
}";

/// Devices that spoke with one of a device's addresses.
const SEEN_BY: &str = "(T:(key:string, time:datetime)) {
    let addresses = DeviceNetworkInfo
        | mv-expand address = IPAddresses
        | distinct key = DeviceId, ip = tostring(address.IPAddress);
    T | distinct key
      | join kind=inner addresses on key
      | join kind=inner (DeviceNetworkEvents | distinct ip = RemoteIP, SeenBy = DeviceId) on ip
      | where SeenBy != key
      | summarize SeenBy = make_set(SeenBy, 1000) by DeviceId = key
}";

/// A function of the product by its name.
pub(crate) fn function(name: &str) -> Option<&'static Product> {
    PRODUCTS.iter().find(|p| p.name == name)
}

/// A call. `input` is the rows before `invoke`.
pub(crate) fn bind(
    b: &mut Binder<'_>,
    name: &Name,
    arguments: &[Expr],
    input: Option<Relation>,
    span: Span,
) -> Relation {
    let Some(product) = function(&name.text) else { return b.broken_rows() };
    if arguments.len() > product.parameters.len() {
        let most = product.parameters.len();
        b.error("KS119", name.span, format!("the function `{}` takes at most {most} arguments", name.text));
        return b.broken_rows();
    }
    if product.name == "FileProfile" {
        return profile(b, arguments, input, span);
    }
    // A call by itself gets values; an invoked one gets columns.
    let rows = input.clone().unwrap_or_else(source::unit);
    let key = argument(b, arguments.first(), product.parameters.first(), &rows, span);
    let time = product.parameters.get(1).map(|p| match arguments.get(1) {
        Some(_) => argument(b, arguments.get(1), Some(p), &rows, span),
        None if rows.field(p).is_some() => argument(b, None, Some(p), &rows, span),
        None => Bound::new(fold::null(crate::Type::Datetime), crate::Type::Datetime),
    });
    let key = b.converted(key, crate::Type::Text);
    let time = time.unwrap_or_else(|| Bound::new(fold::null(crate::Type::Datetime), crate::Type::Datetime));
    let time = b.converted(time, crate::Type::Datetime);
    let items =
        vec![(Field::new("key", crate::Type::Text), key.expr), (Field::new("time", crate::Type::Datetime), time.expr)];
    let keyed = super::project::finish(b, items, rows, span);
    let called = ours(b, product.text, keyed.clone(), span);
    if product.name != "SeenBy" {
        return called;
    }
    // `SeenBy` adds to the rows what was found of them.
    let Some(input) = input else { return called };
    if input.field("DeviceId").is_none() {
        return called;
    }
    let mut names = crate::lower::relation::Names::of(&input.fields);
    let right_names: Vec<String> = called.fields.iter().map(|f| names.take(&f.name)).collect();
    let seen = right_names.get(1).cloned().unwrap_or_default();
    let mut fields = input.fields.clone();
    fields.push(Field::new(seen, crate::Type::Dynamic));
    let mut like = input.clone();
    like.fields.clone_from(&fields);
    let left = input.key(crate::Type::Text, Relation::column("DeviceId"));
    let pairs = vec![(left, Relation::column("DeviceId"))];
    let planned = input.join(called, right_names, pairs, datafusion::common::JoinType::Left).and_then(|r| {
        r.project(
            fields
                .into_iter()
                .map(|f| {
                    let column = Relation::column(&f.name);
                    (f, column)
                })
                .collect(),
        )
    });
    b.settle(span, &like, planned)
}

/// An argument that is a column, by its bare name or as text, or a value; or what stands for it.
fn argument(b: &mut Binder<'_>, given: Option<&Expr>, default: Option<&&str>, rows: &Relation, span: Span) -> Bound {
    let name = match given.map(|g| &g.kind) {
        Some(ExprKind::Literal(Literal::Text(text))) if rows.field(text).is_some() => {
            Name { text: text.clone(), span: given.map_or(span, |g| g.span) }
        }
        Some(_) => {
            return given.map_or_else(Bound::unknown, |g| b.scalar(g, rows));
        }
        None => Name { text: default.map_or_else(String::new, |d| (*d).to_owned()), span },
    };
    let expr = Expr { kind: ExprKind::Name(name), span: given.map_or(span, |g| g.span) };
    b.scalar(&expr, rows)
}

/// Calls a definition of ours with rows.
fn ours(b: &mut Binder<'_>, text: &str, rows: Relation, span: Span) -> Relation {
    let parsed = crate::syntax::parse(&format!("let f = {text}"));
    let lambda = parsed.tree.statements.first().and_then(|s| match &s.kind {
        StatementKind::Let { value: Expr { kind: ExprKind::Lambda(lambda), .. }, .. } => Some(lambda.as_ref().clone()),
        _ => None,
    });
    let Some(lambda) = lambda else {
        b.error("GQ900", span, "a definition of our own cannot be read");
        return b.broken_rows();
    };
    let function = Rc::new(Function { lambda, environment: Environment::default() });
    let outer = b.inside;
    b.inside = outer.or(Some(span));
    let value = b.call_function(&function, "f", &[], Some(rows), &source::unit(), span);
    b.inside = outer;
    match value {
        Value::Rows(relation, _) => *relation,
        _ => b.broken_rows(),
    }
}

/// Columns of a file's profile, as hunters' queries know them.
const PROFILE: &[(&str, crate::Type)] = {
    use crate::Type as T;
    &[
        ("SHA1", T::Text),
        ("SHA256", T::Text),
        ("MD5", T::Text),
        ("FileSize", T::Long),
        ("GlobalPrevalence", T::Long),
        ("GlobalFirstSeen", T::Datetime),
        ("GlobalLastSeen", T::Datetime),
        ("Signer", T::Text),
        ("Issuer", T::Text),
        ("SignerHash", T::Text),
        ("IsCertificateValid", T::Bool),
        ("IsRootSignerMicrosoft", T::Bool),
        ("SignatureState", T::Text),
        ("IsExecutable", T::Bool),
        ("ThreatName", T::Text),
        ("Publisher", T::Text),
        ("SoftwareName", T::Text),
        ("ProfileAvailability", T::Text),
    ]
};

/// The table that the server fills from the estate's own prevalence.
const PROFILES: &str = "FileProfiles";

/// Rows that a profile is looked up for, unless said otherwise, and at most.
const PROFILED_ROWS: (i64, i64) = (100, 1_000);

/// `FileProfile(hash, rows)`: each row with what is known of its file, in the place of columns of the same names.
fn profile(b: &mut Binder<'_>, arguments: &[Expr], input: Option<Relation>, span: Span) -> Relation {
    let Some(input) = input else {
        b.error("KS174", span, "FileProfile is called by `invoke`, with rows before it");
        return b.broken_rows();
    };
    let hash = arguments.first().map_or_else(
        || Name { text: "SHA1".to_owned(), span },
        |a| match &a.kind {
            ExprKind::Literal(Literal::Text(text)) => Name { text: text.clone(), span: a.span },
            ExprKind::Name(name) => name.clone(),
            _ => Name { text: String::new(), span: a.span },
        },
    );
    let rows = match arguments.get(1) {
        Some(rows) => b.whole(rows).unwrap_or(PROFILED_ROWS.0),
        None => PROFILED_ROWS.0,
    };
    if !(1..=PROFILED_ROWS.1).contains(&rows) {
        b.error("GQ101", span, format!("FileProfile looks up 1 to {} rows", PROFILED_ROWS.1));
    }
    let field = input.field(&hash.text).cloned();
    if field.is_none() && !input.open {
        if hash.text.is_empty() {
            b.error("KS109", hash.span, "the name of a column of hashes is expected here");
        } else {
            b.no_column(&hash, &input);
        }
    }
    let key = if hash.text.ends_with("SHA256") { "SHA256" } else { "SHA1" };
    let profile: Vec<Field> = PROFILE.iter().map(|(n, k)| Field::new(*n, *k)).collect();
    let mut fields: Vec<Field> = input.fields.iter().filter(|f| !profile.contains(f)).cloned().collect();
    fields.retain(|f| !profile.iter().any(|p| p.name == f.name));
    fields.extend(profile.iter().cloned());
    let mut like = input.clone();
    like.fields.clone_from(&fields);
    let Some(field) = field else { return like };
    let profiles = match b.catalog.shape(PROFILES) {
        Some(_) => b.table(PROFILES),
        None => source::nothing(profile.clone()),
    };
    let names: Vec<String> = profiles.fields.iter().enumerate().map(|(at, _)| format!("\u{1}profile{at}")).collect();
    let places: Vec<(String, Field)> =
        profiles.fields.iter().cloned().zip(&names).map(|(f, n)| (n.clone(), f)).collect();
    let left = input.key(crate::Type::Text, Relation::column(&field.name));
    let limit = usize::try_from(rows.max(0)).unwrap_or(0);
    let before = input.fields.clone();
    let planned = input
        .limit(limit)
        .and_then(|r| {
            // A file has one profile: the first, should the table ever hold two.
            let profiles = super::join::one_of_each(profiles, vec![(key.to_owned(), crate::Type::Text)])?;
            r.join(profiles, names, vec![(left, Relation::column(key))], datafusion::common::JoinType::Left)
        })
        .and_then(|r| {
            let items = fields
                .into_iter()
                .map(|f| {
                    let place = places.iter().find(|(_, p)| p.name == f.name).map(|(n, _)| Relation::column(n));
                    let own = before.iter().any(|o| o.name == f.name && o.kind == f.kind);
                    let expr = match (place, own) {
                        // A file that nothing is known of keeps the hashes that its row has.
                        (Some(place), true) => {
                            datafusion::functions::expr_fn::coalesce(vec![place, Relation::column(&f.name)])
                        }
                        (Some(place), false) => place,
                        (None, true) => Relation::column(&f.name),
                        (None, false) => fold::null(f.kind),
                    };
                    (f, expr)
                })
                .collect();
            r.project(items)
        });
    b.settle(span, &like, planned)
}
