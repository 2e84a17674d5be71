//! Where addresses are: `geo_info_from_ip_address`.
//!
//! What is known belongs to the query's [`Context`], so the call carries it. A plan that was sent as bytes has lost it:
//! whoever rebuilds one says anew who knows ([`register_places`]), else no address is known there.

use super::eval::{Column, by_dictionary};
use super::json::Json;
use super::signature::{Function, Param, Ret};
use super::{Context, Naming, Refusal};
use crate::Type;
use arrow::array::{ArrayRef, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

/// Where an address is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Place {
    /// Country, in English.
    pub country: Option<String>,
    /// State or province.
    pub state: Option<String>,
    /// City.
    pub city: Option<String>,
    /// Degrees north.
    pub latitude: Option<f64>,
    /// Degrees east.
    pub longitude: Option<f64>,
}

/// Knows where addresses are; the server has one if the operator supplies a database.
pub trait Places: Send + Sync + std::fmt::Debug {
    /// Where an address is.
    fn place(&self, address: IpAddr) -> Option<Place>;
}

/// Name of the function in a plan.
const NAME: &str = "kql_geo_info_from_ip_address";

pub(super) const FUNCTIONS: &[Function] = &[Function::native(
    "geo_info_from_ip_address",
    Naming::None,
    &[Param::Texted],
    Ret::Is(Type::Dynamic),
    "Where an address is: country, state, city, latitude, longitude.",
    "geo_info_from_ip_address('20.53.203.50')",
    lower,
)];

fn lower(context: &Context, types: &[Type], args: Vec<Expr>) -> std::result::Result<Expr, Refusal> {
    let args = args.into_iter().zip(types).map(|(arg, kind)| super::cast(*kind, Type::Text, arg)).collect();
    let udf = ScalarUDF::from(PlaceOf::new(context.places.clone()));
    Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(udf), args)))
}

/// The function without anybody who knows.
pub(super) fn unknowing() -> ScalarUDF {
    ScalarUDF::from(PlaceOf::new(None))
}

/// Says who knows where addresses are in plans that were sent as bytes and are rebuilt here.
pub fn register_places(registry: &mut dyn FunctionRegistry, places: Arc<dyn Places>) -> Result<()> {
    registry.register_udf(Arc::new(ScalarUDF::from(PlaceOf::new(Some(places))))).map(|_| ())
}

#[derive(Debug)]
pub(super) struct PlaceOf {
    places: Option<Arc<dyn Places>>,
    signature: Signature,
}

impl PlaceOf {
    fn new(places: Option<Arc<dyn Places>>) -> Self {
        Self { places, signature: Signature::any(1, Volatility::Immutable) }
    }

    /// Which source it asks: two calls are the same only if they ask the same one.
    fn source(&self) -> Option<*const ()> {
        self.places.as_ref().map(|places| Arc::as_ptr(places).cast())
    }

    fn rows(&self, args: &[ColumnarValue], rows: usize) -> Result<ArrayRef> {
        let mut out = StringBuilder::with_capacity(rows, rows * 64);
        let column = args.first().map(Column::new).transpose()?;
        for row in 0..rows {
            match column.as_ref().and_then(|column| column.text(row).trim().parse().ok()) {
                Some(address) => out.append_value(self.told(address)),
                None => out.append_null(),
            }
        }
        Ok(Arc::new(out.finish()))
    }

    fn told(&self, address: IpAddr) -> String {
        let Some(place) = self.places.as_ref().and_then(|places| places.place(address)) else {
            return "{}".to_owned();
        };
        let text = |v: Option<String>| v.map_or(Json::Null, Json::Text);
        let real = |v: Option<f64>| v.map_or(Json::Null, Json::Real);
        let items = [
            ("country", text(place.country)),
            ("state", text(place.state)),
            ("city", text(place.city)),
            ("latitude", real(place.latitude)),
            ("longitude", real(place.longitude)),
        ];
        Json::Bag(items.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()).json()
    }
}

impl PartialEq for PlaceOf {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl Eq for PlaceOf {}

impl Hash for PlaceOf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        NAME.hash(state);
        self.source().hash(state);
    }
}

impl ScalarUDFImpl for PlaceOf {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(Type::Dynamic.arrow())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let array = by_dictionary(&args.args, rows, false, &|args, rows| self.rows(args, rows))?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::SessionContext;

    #[derive(Debug)]
    struct One(&'static str);

    impl Places for One {
        fn place(&self, address: IpAddr) -> Option<Place> {
            let known = address == IpAddr::from([192, 0, 2, 1]);
            known.then(|| Place { country: Some(self.0.to_owned()), ..Place::default() })
        }
    }

    #[tokio::test]
    async fn every_query_asks_the_places_of_its_own_context() {
        let function = FUNCTIONS.first().unwrap();
        let said = async |context: &Context, address: &str| {
            let call = function.lower(context, &[Type::Text], vec![datafusion::logical_expr::lit(address)]).unwrap();
            let frame = SessionContext::new().read_empty().unwrap();
            let batches = frame.select(vec![call.alias("x")]).unwrap().collect().await.unwrap();
            let array = arrow::compute::cast(batches[0].column(0), &DataType::Utf8).unwrap();
            let text: &arrow::array::StringArray = arrow::array::AsArray::as_string(&array);
            text.iter().next().unwrap().map(str::to_owned)
        };
        let here = Context { places: Some(Arc::new(One("Here"))), ..Context::at(0) };
        let there = Context { places: Some(Arc::new(One("There"))), ..Context::at(0) };
        for (context, address, expected) in [
            (&here, "192.0.2.1", Some("Here")),
            (&there, " 192.0.2.1 ", Some("There")),
            (&Context::at(0), "192.0.2.1", Some("{}")),
            (&here, "192.0.2.2", Some("{}")),
            (&here, "no address", None),
        ] {
            let found = said(context, address).await;
            match expected {
                None => assert_eq!(found, None, "{address}"),
                Some(words) => assert!(found.as_deref().unwrap_or("").contains(words), "{address}: {found:?}"),
            }
        }
    }
}
