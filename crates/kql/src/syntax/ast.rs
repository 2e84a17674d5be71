//! The tree of a query. It exists for every text: what is missing or broken is [`ExprKind::Missing`], or is left out,
//! and a diagnostic says so. Every node has its place.
//!
//! A pipeline is an expression: `T | where x` may stand wherever a value may (`toscalar(…)`, `in (…)`, `let t = …`);
//! the binder says where rows and where a value belong.

use crate::Span;

/// A name as meant (without `['…']`), and its place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    /// The name; empty if it is missing.
    pub text: String,
    /// Where.
    pub span: Span,
}

/// A whole text: statements, of which the last is what is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// In order.
    pub statements: Vec<Statement>,
    /// All of it.
    pub span: Span,
}

/// A statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// What it is.
    pub kind: StatementKind,
    /// Where, without the semicolon.
    pub span: Span,
}

/// Kinds of statements.
#[derive(Debug, Clone, PartialEq)]
pub enum StatementKind {
    /// `let name = value`.
    Let {
        /// The name.
        name: Name,
        /// A value, rows, or a [`ExprKind::Lambda`].
        value: Expr,
    },
    /// `set option` or `set option = value`.
    Set {
        /// The option.
        name: Name,
        /// Its value.
        value: Option<Expr>,
    },
    /// `declare query_parameters(name: type = default, …)`.
    Parameters(Vec<Parameter>),
    /// A statement of the language that we do not run: `alias`, `restrict`, `declare pattern`, a management command.
    Refused(Name),
    /// The question.
    Expression(Expr),
}

/// A parameter of a function or of a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: Name,
    /// What may be given.
    pub kind: ParameterKind,
    /// The value where none is given.
    pub default: Option<Expr>,
    /// Where.
    pub span: Span,
}

/// What a parameter takes.
#[derive(Debug, Clone, PartialEq)]
pub enum ParameterKind {
    /// A value of the named type.
    Scalar(Name),
    /// Rows with these columns; any rows if `None` (`T: (*)`).
    Rows(Option<Vec<ColumnDecl>>),
}

/// `name: type`.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnDecl {
    /// The column.
    pub name: Name,
    /// Name of its type.
    pub kind: Name,
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where.
    pub span: Span,
}

/// Kinds of expressions.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// Something should stand here and does not; already reported.
    Missing,
    /// A constant.
    Literal(Literal),
    /// `dynamic(…)`.
    Dynamic(Json),
    /// A column, a variable, a table; `$left`, `$right`, `$table` too.
    Name(Name),
    /// A name with wildcards where names of tables or columns are asked: `Device*`.
    Wildcard(Name),
    /// `*`.
    Star,
    /// `value.name`.
    Path {
        /// Of what.
        base: Box<Expr>,
        /// Which property.
        name: Name,
    },
    /// `value[index]`.
    Index {
        /// Of what.
        base: Box<Expr>,
        /// Number or text.
        index: Box<Expr>,
    },
    /// `name(arguments)`. `toscalar`, `totable` and `materialize` are calls whose argument is a pipeline.
    Call {
        /// Which function.
        name: Name,
        /// Arguments; named ones are [`ExprKind::Named`].
        arguments: Vec<Expr>,
    },
    /// `name = value`, `(a, b) = value`: in lists of columns and as a named argument.
    Named {
        /// One name, or several; an empty name in the list stands for a place left out, as in `(a, , b)`.
        names: Vec<Name>,
        /// Written in parentheses.
        compound: bool,
        /// The value.
        value: Box<Expr>,
    },
    /// `-x`, `+x`.
    Unary {
        /// Minus, or else plus.
        minus: bool,
        /// Of what.
        operand: Box<Expr>,
    },
    /// An operator between two values. `op.text` is as written: `==`, `has_cs`, `!contains`, `and`, …
    Binary {
        /// The operator.
        op: Name,
        /// Left.
        left: Box<Expr>,
        /// Right.
        right: Box<Expr>,
    },
    /// `in`, `!in`, `in~`, `!in~`, `has_any`, `has_all`: a value and a list; one element may be a pipeline or an array.
    Member {
        /// The operator.
        op: Name,
        /// Left.
        left: Box<Expr>,
        /// The list's elements.
        list: Vec<Expr>,
    },
    /// `between (low .. high)`.
    Between {
        /// `!between`.
        negated: bool,
        /// Left.
        left: Box<Expr>,
        /// Least.
        low: Box<Expr>,
        /// Greatest.
        high: Box<Expr>,
        /// Of the operator's word.
        op: Span,
    },
    /// `typeof(…)`: names of types.
    TypeOf(Vec<ColumnDecl>),
    /// `(parameters) { statements }`, with or without `view`.
    Lambda(Box<Lambda>),
    /// `datatable (columns) [values]`.
    DataTable {
        /// Columns.
        columns: Vec<ColumnDecl>,
        /// Values, row by row.
        values: Vec<Expr>,
    },
    /// `externaldata (columns) [addresses] with (properties)`.
    ExternalData {
        /// Columns.
        columns: Vec<ColumnDecl>,
        /// Addresses.
        addresses: Vec<Expr>,
        /// Properties.
        properties: Vec<Property>,
    },
    /// Rows and what is done to them.
    Pipeline(Box<Pipeline>),
    /// `(…)`.
    Parens(Box<Expr>),
}

/// A function without a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Lambda {
    /// `view` stands before it.
    pub view: bool,
    /// Parameters.
    pub parameters: Vec<Parameter>,
    /// Statements of the body; the last is its value.
    pub body: Query,
}

/// Rows and operators.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// Where rows come from; `None` if the first operator makes them (`print`, `range`, `union`, `search`, `find`,
    /// `evaluate`).
    pub source: Option<Expr>,
    /// In order.
    pub operators: Vec<Operator>,
}

/// An operator.
#[derive(Debug, Clone, PartialEq)]
pub struct Operator {
    /// What it does.
    pub kind: OperatorKind,
    /// Its word or words.
    pub keyword: Span,
    /// All of it, without the bar before it.
    pub span: Span,
}

/// `name = value` after an operator's word (`kind = inner`, `hint.strategy = shuffle`), in `with (…)` too.
#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    /// Its name, with dots.
    pub name: Name,
    /// Its value; a bare word is [`ExprKind::Name`].
    pub value: Expr,
}

/// A sort key.
#[derive(Debug, Clone, PartialEq)]
pub struct SortKey {
    /// By what.
    pub value: Expr,
    /// `asc`, or else `desc`; `None` if not written.
    pub ascending: Option<bool>,
    /// `nulls first`, or else `nulls last`; `None` if not written.
    pub nulls_first: Option<bool>,
}

/// A column of `mv-expand` or `mv-apply`.
#[derive(Debug, Clone, PartialEq)]
pub struct Expand {
    /// `[name =] value`.
    pub value: Expr,
    /// `to typeof(…)`.
    pub kind: Option<Name>,
}

/// A part of a `parse` pattern.
#[derive(Debug, Clone, PartialEq)]
pub enum ParsePart {
    /// Text to match.
    Text(Expr),
    /// `*`: anything.
    Star(Span),
    /// A column to fill, with its type.
    Column {
        /// The column.
        name: Name,
        /// Name of its type.
        kind: Option<Name>,
    },
}

/// What `union`, `search in`, `find in` and `partition` read.
pub type Rows = Expr;

/// A level of `top-nested`.
#[derive(Debug, Clone, PartialEq)]
pub struct NestedLevel {
    /// How many; all if not written.
    pub count: Option<Expr>,
    /// `[name =] value`.
    pub of: Expr,
    /// `with others = value`.
    pub others: Option<Expr>,
    /// `by [name =] aggregate`.
    pub by: Expr,
    /// Order of the aggregate.
    pub ascending: Option<bool>,
    /// Where.
    pub span: Span,
}

/// A step of `scan`.
#[derive(Debug, Clone, PartialEq)]
pub struct ScanStep {
    /// Its name.
    pub name: Name,
    /// `optional`.
    pub optional: bool,
    /// `output = all | last | none`.
    pub output: Option<Name>,
    /// Condition.
    pub condition: Expr,
    /// `=> name = value, …`.
    pub assignments: Vec<Expr>,
}

/// A node or an edge of a graph pattern.
#[derive(Debug, Clone, PartialEq)]
pub enum GraphPart {
    /// `(name)`.
    Node(Name),
    /// `-[name]->`, `<-[name]-`, `-[name]-`, `-[name*1..3]->`, `-->`.
    Edge {
        /// Its name; empty if none is written.
        name: Name,
        /// Which way.
        direction: EdgeDirection,
        /// Fewest and most edges; `None` for exactly one.
        range: Option<(Expr, Expr)>,
        /// Where.
        span: Span,
    },
}

/// Which way an edge points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeDirection {
    /// `-->`.
    Forward,
    /// `<--`.
    Backward,
    /// `--`.
    Any,
}

/// Kinds of operators. Properties (`kind=`, `hint.…`) are kept as written; the binder checks them.
#[derive(Debug, Clone, PartialEq)]
pub enum OperatorKind {
    /// `where`, `filter`.
    Where(Expr),
    /// `extend`.
    Extend(Vec<Expr>),
    /// `project`.
    Project(Vec<Expr>),
    /// `project-away`.
    ProjectAway(Vec<Expr>),
    /// `project-keep`.
    ProjectKeep(Vec<Expr>),
    /// `project-rename`.
    ProjectRename(Vec<Expr>),
    /// `project-reorder`.
    ProjectReorder(Vec<SortKey>),
    /// `summarize`.
    Summarize {
        /// Hints.
        properties: Vec<Property>,
        /// Aggregates.
        aggregates: Vec<Expr>,
        /// Keys; `None` without `by`.
        by: Option<Vec<Expr>>,
    },
    /// `distinct`.
    Distinct(Vec<Expr>),
    /// `count`, with the name of its column if `as name` is written.
    Count(Option<Name>),
    /// `sort by`, `order by`.
    Sort(Vec<SortKey>),
    /// `top n by key`.
    Top {
        /// How many.
        count: Expr,
        /// By what.
        by: Vec<SortKey>,
    },
    /// `take`, `limit`.
    Take(Expr),
    /// `sample`.
    Sample(Expr),
    /// `sample-distinct n of column`.
    SampleDistinct {
        /// How many.
        count: Expr,
        /// Of what.
        of: Expr,
    },
    /// `join`.
    Join {
        /// `kind`, hints.
        properties: Vec<Property>,
        /// Right side.
        right: Box<Rows>,
        /// Conditions.
        on: Vec<Expr>,
    },
    /// `lookup`.
    Lookup {
        /// `kind`.
        properties: Vec<Property>,
        /// Right side.
        right: Box<Rows>,
        /// Conditions.
        on: Vec<Expr>,
    },
    /// `union`.
    Union {
        /// `kind`, `withsource`, `isfuzzy`.
        properties: Vec<Property>,
        /// What is added.
        rows: Vec<Rows>,
    },
    /// `print`.
    Print(Vec<Expr>),
    /// `range name from a to b step c`.
    Range {
        /// Column.
        name: Name,
        /// First.
        from: Expr,
        /// Last.
        to: Expr,
        /// Step.
        step: Expr,
    },
    /// `render kind [with (…)]`.
    Render {
        /// Kind of chart.
        kind: Name,
        /// Properties.
        properties: Vec<Property>,
    },
    /// `as name`.
    As(Name),
    /// `serialize`.
    Serialize(Vec<Expr>),
    /// `mv-expand`, `mvexpand`.
    MvExpand {
        /// `bagexpansion`, `with_itemindex`, `kind`.
        properties: Vec<Property>,
        /// Columns.
        columns: Vec<Expand>,
        /// `limit n`.
        limit: Option<Expr>,
        /// The old spelling, which has a limit of its own.
        old: bool,
    },
    /// `mv-apply columns on (operators)`.
    MvApply {
        /// `with_itemindex`.
        properties: Vec<Property>,
        /// Columns.
        columns: Vec<Expand>,
        /// `limit n`.
        limit: Option<Expr>,
        /// What is done to each row's elements.
        on: Box<Pipeline>,
    },
    /// `parse`, `parse-where`.
    Parse {
        /// `kind`, `flags`.
        properties: Vec<Property>,
        /// What is parsed.
        value: Expr,
        /// Pattern.
        pattern: Vec<ParsePart>,
        /// `parse-where`.
        filter: bool,
    },
    /// `parse-kv value as (columns) with (…)`.
    ParseKv {
        /// What is parsed.
        value: Expr,
        /// Columns.
        columns: Vec<ColumnDecl>,
        /// Properties.
        properties: Vec<Property>,
    },
    /// `make-series`.
    MakeSeries {
        /// `kind`, hints.
        properties: Vec<Property>,
        /// Aggregates, each with its `default`.
        aggregates: Vec<(Expr, Option<Expr>)>,
        /// Axis.
        on: Expr,
        /// First, where written.
        from: Option<Expr>,
        /// End, where written.
        to: Option<Expr>,
        /// Step.
        step: Expr,
        /// `in range(a, b, step)`: the end is included.
        in_range: bool,
        /// Keys.
        by: Vec<Expr>,
    },
    /// `evaluate plugin(arguments) [: (columns)]`.
    Evaluate {
        /// Hints.
        properties: Vec<Property>,
        /// The plugin's call.
        call: Expr,
        /// Columns that the answer is said to have; `*` as a first column named `*`.
        schema: Option<Vec<ColumnDecl>>,
    },
    /// `invoke function(arguments)`.
    Invoke(Expr),
    /// `getschema`.
    GetSchema,
    /// `consume`.
    Consume,
    /// `top-nested`.
    TopNested(Vec<NestedLevel>),
    /// `top-hitters n of value [by value]`.
    TopHitters {
        /// How many.
        count: Expr,
        /// Of what.
        of: Expr,
        /// Weight.
        by: Option<Expr>,
    },
    /// `partition [properties] by column (operators)`, or `{ pipeline }`.
    Partition {
        /// `hint.strategy`, …
        properties: Vec<Property>,
        /// By which column.
        by: Expr,
        /// What is done to each part.
        body: Box<Pipeline>,
    },
    /// `scan`.
    Scan {
        /// `with_match_id`, …
        properties: Vec<Property>,
        /// `partition by`.
        partition_by: Vec<Expr>,
        /// `order by`.
        order_by: Vec<SortKey>,
        /// `declare (name: type = default)`.
        declare: Vec<Parameter>,
        /// Steps.
        steps: Vec<ScanStep>,
    },
    /// `search`.
    Search {
        /// `kind`.
        properties: Vec<Property>,
        /// `in (tables)`.
        rows: Vec<Rows>,
        /// What is searched.
        condition: Expr,
    },
    /// `find`.
    Find {
        /// `withsource`.
        properties: Vec<Property>,
        /// `in (tables)`.
        rows: Vec<Rows>,
        /// Condition.
        condition: Expr,
        /// `project` columns (each may be `name: type`, kept as [`ExprKind::Named`] of the type's name); none for
        /// `project-smart`.
        project: Option<Vec<Expr>>,
    },
    /// `make-graph source --> target with Nodes on id [, Nodes2 on id2]`.
    MakeGraph {
        /// Column of the source.
        source: Expr,
        /// Column of the target.
        target: Expr,
        /// Node rows and their id column.
        nodes: Vec<(Rows, Expr)>,
        /// `with_node_id = name`.
        node_id: Option<Name>,
    },
    /// `graph-match`.
    GraphMatch {
        /// `cycles`.
        properties: Vec<Property>,
        /// Patterns.
        patterns: Vec<Vec<GraphPart>>,
        /// Condition.
        condition: Option<Expr>,
        /// Columns of the answer.
        project: Option<Vec<Expr>>,
    },
    /// `graph-shortest-paths`.
    GraphShortestPaths {
        /// `output`, `cycles`.
        properties: Vec<Property>,
        /// Patterns.
        patterns: Vec<Vec<GraphPart>>,
        /// Condition.
        condition: Option<Expr>,
        /// Columns of the answer.
        project: Option<Vec<Expr>>,
    },
    /// `graph-mark-components`.
    GraphMarkComponents {
        /// `kind`, `with_component_id`.
        properties: Vec<Property>,
    },
    /// `graph-to-table`.
    GraphToTable {
        /// `nodes` or `edges`, the name each is given, and its properties.
        outputs: Vec<(Name, Option<Name>, Vec<Property>)>,
    },
    /// An operator of the language that we do not run: `fork`, `facet`, `reduce`, … Its arguments are skipped.
    Refused(Name),
    /// No operator of this name; already reported.
    Unknown,
}

/// A constant. Null has a kind of its own: `int(null)`.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// `true`.
    Bool(Option<bool>),
    /// `int(1)`.
    Int(Option<i32>),
    /// `1`, `long(1)`, `0x1f`.
    Long(Option<i64>),
    /// `1.5`, `real(…)`.
    Real(Option<f64>),
    /// `decimal(…)`: its digits as written.
    Decimal(Option<String>),
    /// Text with its escapes resolved.
    Text(String),
    /// Microseconds since 1970 UTC.
    Datetime(Option<i64>),
    /// Microseconds.
    Timespan(Option<i64>),
    /// Lower-case, with hyphens.
    Guid(Option<String>),
}

/// What stands in `dynamic(…)`.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// A constant: text, number, truth, or one of the language's own literals.
    Value(Literal),
    /// `[…]`.
    Array(Vec<Json>),
    /// `{…}`, in the order written.
    Object(Vec<(String, Json)>),
}
