//! What a function takes and gives, and how arguments are brought into the form that it reads.

use super::convert::cast;
use super::eval::{self, Eval};
use super::{Context, Naming, Refusal};
use crate::Type;
use datafusion::logical_expr::Expr;

/// What fits in one place of a call, and what the function reads there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Param {
    /// A text; a dynamic value is read as its text.
    Text,
    /// Any scalar, read as its text.
    Texted,
    /// A text that must be a constant.
    TextConstant,
    /// `int` or `long`, read as `long`.
    Long,
    /// `int` or `long` that must be a constant.
    LongConstant,
    /// A number that is read as `real`.
    Real,
    /// A number, read in the type of the result.
    Number,
    /// A Boolean.
    Bool,
    /// A datetime.
    Datetime,
    /// A timespan.
    Timespan,
    /// A number, datetime or timespan, as it is.
    Summable,
    /// Anything that has an order, as it is.
    Orderable,
    /// A guid.
    Guid,
    /// A dynamic value.
    Dynamic,
    /// Any scalar, read as a dynamic value.
    Json,
    /// Any scalar, as it is.
    Any,
    /// Any scalar but a dynamic one, as it is.
    NotDynamic,
}

impl Param {
    /// The word for it in a signature.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Text | Self::TextConstant => "string",
            Self::Long | Self::LongConstant => "long",
            Self::Real | Self::Number => "number",
            Self::Bool => "bool",
            Self::Datetime => "datetime",
            Self::Timespan => "timespan",
            Self::Summable => "summable",
            Self::Orderable => "orderable",
            Self::Guid => "guid",
            Self::Dynamic => "dynamic",
            Self::Any | Self::Json | Self::Texted => "scalar",
            Self::NotDynamic => "scalar but dynamic",
        }
    }

    /// Refuses what does not fit.
    pub(super) fn check(self, at: usize, kind: Type) -> Result<(), Refusal> {
        use Type as T;
        let refuse = |code, expected| Err(Refusal::Argument { code, at, expected });
        let numeric = matches!(kind, T::Int | T::Long | T::Real | T::Decimal);
        if kind == T::Unknown {
            return Ok(());
        }
        match self {
            Self::Texted | Self::Json | Self::Any => Ok(()),
            Self::NotDynamic if kind == T::Dynamic => refuse("KS116", "of any type but dynamic"),
            Self::Text | Self::TextConstant if !matches!(kind, T::Text | T::Dynamic) => refuse("KS107", "a string"),
            Self::Long | Self::LongConstant if !matches!(kind, T::Int | T::Long) => refuse("KS134", "an integer"),
            Self::Real | Self::Number if !numeric => refuse("KS137", "a number"),
            Self::Bool if kind != T::Bool => refuse("KS107", "a bool"),
            Self::Datetime if kind != T::Datetime => refuse("KS107", "a datetime"),
            Self::Timespan if kind != T::Timespan => refuse("KS107", "a timespan"),
            Self::Guid if kind != T::Guid => refuse("KS107", "a guid"),
            Self::Summable if !numeric && !matches!(kind, T::Datetime | T::Timespan) => {
                refuse("KS138", "a number, datetime or timespan")
            }
            Self::Orderable if matches!(kind, T::Dynamic | T::Guid) => refuse("KS206", "of a type that has an order"),
            Self::Dynamic if kind != T::Dynamic => refuse("KS234", "dynamic"),
            _ => Ok(()),
        }
    }

    /// The type in which the function reads it; `result` is the type of the call.
    fn read(self, kind: Type, result: Type) -> Type {
        match self {
            Self::Text | Self::TextConstant | Self::Texted => Type::Text,
            Self::Long | Self::LongConstant => Type::Long,
            Self::Real => Type::Real,
            // A decimal is computed as a real: what such functions do to it is not exact anyway.
            Self::Number if result == Type::Decimal => Type::Real,
            Self::Number => result,
            Self::Dynamic | Self::Json => Type::Dynamic,
            _ => kind,
        }
    }
}

/// The type of a result.
#[derive(Debug, Clone, Copy)]
pub enum Ret {
    /// Always this.
    Is(Type),
    /// That of the argument.
    Like(usize),
    /// The widest of the numeric arguments.
    Widest,
    /// As this says.
    By(fn(&[Type]) -> Type),
    /// The type whose word is the constant argument there; text where it is left out.
    Named(usize),
}

impl Ret {
    pub(super) fn of(self, types: &[Type]) -> Type {
        match self {
            Self::Is(kind) => kind,
            Self::Like(at) => types.get(at).copied().unwrap_or(Type::Unknown),
            Self::Widest => types.iter().copied().fold(Type::Int, widest),
            Self::By(f) => f(types),
            Self::Named(_) => Type::Text,
        }
    }

    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Is(kind) => kind.name(),
            Self::Like(_) => "as given",
            Self::Widest => "the widest",
            Self::By(_) => "by its arguments",
            Self::Named(_) => "string, or as named",
        }
    }
}

/// The wider of two types of number.
pub(super) fn widest(a: Type, b: Type) -> Type {
    let rank = |t| match t {
        Type::Int => 0,
        Type::Long => 1,
        Type::Real => 2,
        Type::Decimal => 3,
        _ => -1,
    };
    if rank(b) > rank(a) { b } else { a }
}

/// What lowers a call whose meaning the query engine has itself.
pub(super) type Lower = fn(&Context, &[Type], Vec<Expr>) -> Result<Expr, Refusal>;

/// How a call is computed.
#[derive(Clone, Copy)]
pub(super) enum Body {
    /// Row by row, by a function of ours.
    Row(Eval),
    /// By an expression.
    Lower(Lower),
}

/// A scalar function.
pub struct Function {
    /// Its name; names are case-sensitive.
    pub name: &'static str,
    /// Old names that mean the same.
    pub aliases: &'static [&'static str],
    /// How its column is named.
    pub naming: Naming,
    /// What it takes.
    pub params: &'static [Param],
    /// How many of `params`, at the end, may be left out.
    pub optional: usize,
    /// Whether the last of `params` may be repeated.
    pub variadic: bool,
    /// What it gives.
    pub ret: Ret,
    /// One sentence.
    pub doc: &'static str,
    /// A call.
    pub example: &'static str,
    /// Whether a null argument is for the function to judge; otherwise the result is null.
    pub(super) nulls: bool,
    /// Whether two calls with the same arguments may differ.
    pub(super) volatile: bool,
    pub(super) body: Body,
}

/// Most arguments of a call that takes any number.
const ARGUMENTS_MAX: usize = 1024;

impl Function {
    pub(super) const fn row(
        name: &'static str,
        naming: Naming,
        params: &'static [Param],
        ret: Ret,
        doc: &'static str,
        example: &'static str,
        eval: Eval,
    ) -> Self {
        Self {
            name,
            aliases: &[],
            naming,
            params,
            optional: 0,
            variadic: false,
            ret,
            doc,
            example,
            nulls: false,
            volatile: false,
            body: Body::Row(eval),
        }
    }

    pub(super) const fn native(
        name: &'static str,
        naming: Naming,
        params: &'static [Param],
        ret: Ret,
        doc: &'static str,
        example: &'static str,
        lower: Lower,
    ) -> Self {
        Self {
            name,
            aliases: &[],
            naming,
            params,
            optional: 0,
            variadic: false,
            ret,
            doc,
            example,
            nulls: true,
            volatile: false,
            body: Body::Lower(lower),
        }
    }

    pub(super) const fn optional(mut self, count: usize) -> Self {
        self.optional = count;
        self
    }

    pub(super) const fn variadic(mut self) -> Self {
        self.variadic = true;
        self
    }

    pub(super) const fn nulls(mut self) -> Self {
        self.nulls = true;
        self
    }

    pub(super) const fn volatile(mut self) -> Self {
        self.volatile = true;
        self
    }

    pub(super) const fn alias(mut self, names: &'static [&'static str]) -> Self {
        self.aliases = names;
        self
    }

    /// Fewest and most arguments.
    #[must_use]
    pub fn arity(&self) -> (usize, usize) {
        arity(self.params, self.optional, self.variadic)
    }

    /// The type of the result, or why these arguments do not fit.
    pub fn result(&self, types: &[Type]) -> Result<Type, Refusal> {
        check(self.params, self.optional, self.variadic, types)?;
        if types.contains(&Type::Unknown) && !matches!(self.ret, Ret::Is(_)) {
            return Ok(Type::Unknown);
        }
        Ok(self.ret.of(types))
    }

    /// The same where the values of constant arguments are known: `typeof(long)` is given as the text `long`.
    pub fn result_with(&self, types: &[Type], args: &[Expr]) -> Result<Type, Refusal> {
        let kind = self.result(types)?;
        Ok(match self.ret {
            Ret::Named(at) => args
                .get(at)
                .and_then(super::convert::literal_text)
                .and_then(super::strings::named_type)
                .unwrap_or(Type::Text),
            _ => kind,
        })
    }

    /// The expression that means the call. Arguments lie in memory as [`Type::arrow`] tells, or as a plainer text
    /// array or a dictionary; a constant is an [`Expr::Literal`].
    pub fn lower(&self, context: &Context, types: &[Type], args: Vec<Expr>) -> Result<Expr, Refusal> {
        let result = self.result(types)?;
        constants(self.params, &args)?;
        let pattern = match self.name {
            "extract_all" | "replace" | "trim" | "trim_start" | "trim_end" => Some(0),
            "replace_regex" | "indexof_regex" => Some(1),
            _ => None,
        };
        // A pattern that cannot be used is told where the query is written, not answered with nothing.
        if let Some(text) = pattern.and_then(|at| args.get(at)).and_then(super::convert::literal_text) {
            eval::check_regex(text)?;
        }
        match self.body {
            Body::Lower(lower) => lower(context, types, args),
            Body::Row(_) => {
                let args: Vec<Expr> = args
                    .into_iter()
                    .zip(types)
                    .enumerate()
                    .map(|(at, (expr, kind))| cast(*kind, param(self.params, at).read(*kind, result), expr))
                    .collect();
                let decimal = result == Type::Decimal && matches!(self.ret, Ret::Like(_) | Ret::Widest);
                let call = eval::call(&format!("kql_{}", self.name), args)?;
                Ok(if decimal { cast(Type::Real, Type::Decimal, call) } else { call })
            }
        }
    }

    /// `strlen(string) → long`.
    #[must_use]
    pub fn signature(&self) -> String {
        words(self.name, self.params, self.optional, self.variadic, "", self.ret.words())
    }
}

pub(super) fn param(params: &[Param], at: usize) -> Param {
    params.get(at).or_else(|| params.last()).copied().unwrap_or(Param::Any)
}

pub(super) fn arity(params: &[Param], optional: usize, variadic: bool) -> (usize, usize) {
    (params.len().saturating_sub(optional), if variadic { ARGUMENTS_MAX } else { params.len() })
}

pub(super) fn check(params: &[Param], optional: usize, variadic: bool, types: &[Type]) -> Result<(), Refusal> {
    let (least, most) = arity(params, optional, variadic);
    if types.len() < least || types.len() > most {
        return Err(Refusal::Count(least, most));
    }
    types.iter().enumerate().try_for_each(|(at, kind)| param(params, at).check(at, *kind))
}

pub(super) fn constants(params: &[Param], args: &[Expr]) -> Result<(), Refusal> {
    for (at, expr) in args.iter().enumerate() {
        let constant = matches!(param(params, at), Param::TextConstant | Param::LongConstant);
        if constant && !foldable(expr) {
            return Err(Refusal::NotConstant { at });
        }
    }
    Ok(())
}

/// Whether an expression reads no column, so that it is the same in every row.
pub(super) fn foldable(expr: &Expr) -> bool {
    expr.column_refs().is_empty()
}

pub(super) fn words(name: &str, params: &[Param], optional: usize, variadic: bool, tail: &str, result: &str) -> String {
    let fixed = params.len().saturating_sub(optional);
    let mut list: Vec<String> = Vec::new();
    for (at, param) in params.iter().enumerate() {
        list.push(if at < fixed { param.words().to_owned() } else { format!("[{}]", param.words()) });
    }
    if variadic {
        list.push("…".to_owned());
    }
    if !tail.is_empty() {
        list.push(tail.to_owned());
    }
    format!("{name}({}) → {result}", list.join(", "))
}
