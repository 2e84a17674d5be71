//! Tests of the whole server through its real doors.

#![allow(clippy::unwrap_used)]

mod access;
mod case_lists;
mod central;
mod cloud_alerts;
mod cluster;
mod commands;
mod connect;
mod core_crash;
mod core_identity;
mod core_postgres;
mod core_sessions;
mod detections;
mod detections_house;
mod detections_http;
mod http_house;
mod hunting;
mod hunting_language;
mod hunting_link;
mod hunting_progress;
mod library;
mod metering;
mod oidc;
mod outward;
mod outward_weekly;
mod plane;
mod product_functions;
mod reset;
mod rest;
mod retention;
mod sealed;
mod sigma_plan;
mod tenants;
