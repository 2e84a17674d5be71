//! Extractors whose refusals are problems of the one table.

use super::problem::{ApiError, Kind};
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use std::str::FromStr;

/// A JSON body.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(match &rejection {
                JsonRejection::MissingJsonContentType(_) => ApiError::new(Kind::MediaType),
                other if other.status() == StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(Kind::TooLarge),
                other => ApiError::with(Kind::BadBody, cut(&other.body_text())),
            }),
        }
    }
}

/// Query parameters.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        axum::extract::Query::<T>::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Query(value)| Self(value))
            .map_err(|rejection| ApiError::with(Kind::BadQuery, cut(&rejection.body_text())))
    }
}

/// An id in the path. One that cannot be an id of its kind names nothing: 404, like one that is unknown.
#[derive(Debug)]
pub struct Id<T>(pub T);

impl<S: Send + Sync, T: FromStr> FromRequestParts<S> for Id<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let axum::extract::Path(text) = axum::extract::Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::new(Kind::NotFound))?;
        text.parse().map(Self).map_err(|_| ApiError::new(Kind::NotFound))
    }
}

fn cut(text: &str) -> String {
    text.chars().take(300).collect()
}

/// Reads a list of words separated by commas.
pub fn list<T: FromStr>(text: Option<&str>, name: &str) -> Result<Vec<T>, ApiError>
where
    T::Err: std::fmt::Display,
{
    text.unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(|word| word.parse().map_err(|e: T::Err| ApiError::with(Kind::BadQuery, format!("{name}: {e}"))))
        .collect()
}

/// Reads one value.
pub fn one<T: FromStr>(text: Option<&str>, name: &str) -> Result<Option<T>, ApiError>
where
    T::Err: std::fmt::Display,
{
    text.filter(|t| !t.is_empty())
        .map(|t| t.parse().map_err(|e: T::Err| ApiError::with(Kind::BadQuery, format!("{name}: {e}"))))
        .transpose()
}

/// Items of a page: 50 unless told otherwise, at most 500, so that no answer grows without bound.
pub fn limit(asked: Option<usize>) -> Result<usize, ApiError> {
    match asked.unwrap_or(50) {
        n @ 1..=500 => Ok(n),
        _ => Err(ApiError::with(Kind::BadQuery, "limit must be between 1 and 500")),
    }
}
