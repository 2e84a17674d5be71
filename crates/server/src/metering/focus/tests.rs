use super::check::{Table, check};
use super::columns::COLUMNS;
use super::*;

const DAY: i64 = 495_000 / 24;

fn book() -> Book {
    let machine = |name: &str, tags: Option<&str>| Named {
        resource: format!("/subscriptions/s/resourceGroups/g/providers/Garrison.HybridCompute/machines/{name}"),
        name: name.to_owned(),
        tags: tags.map(str::to_owned),
    };
    Book {
        tenant: "default".to_owned(),
        region: Some(("EU".to_owned(), "European Union".to_owned())),
        currency: "EUR".to_owned(),
        prices: crate::metering::prices::tests::prices(&[
            (Meter::Hour(Plan::P1), 6_849),
            (Meter::Hour(Plan::P2), 20_548),
            (Meter::Ingest, 2_300),
        ]),
        pools: HashMap::new(),
        machines: [
            ("m1".to_owned(), machine("www1", Some("{\"env\":\"prod, \\\"a\\\"\"}"))),
            ("m2".to_owned(), machine("db1", None)),
        ]
        .into(),
        subscriptions: [("s".to_owned(), "Production".to_owned())].into(),
        span: (DAY * 24, DAY * 24 + 24),
    }
}

/// A row of each kind: billed, in the trial, by a seat, of a machine that is gone, free ingest, billed ingest.
fn rows() -> Vec<Row> {
    let book = book();
    let hours = |machine: &str, plan, trial, seat: &str, hours| Hours {
        machine: machine.to_owned(),
        subscription: "s".to_owned(),
        plan,
        trial,
        seat: seat.to_owned(),
        hours,
    };
    let piece = (DAY * 24, DAY * 24 + 24);
    let mut rows: Vec<Row> = [
        hours("m1", Plan::P2, false, "", 24),
        hours("m1", Plan::P1, true, "", 3),
        hours("m2", Plan::P2, false, "seat-1", 7),
        hours("gone", Plan::P1, false, "", 1),
    ]
    .iter()
    .filter_map(|h| book.hours(piece, h))
    .collect();
    let (free, over, megabytes) = crate::metering::ingest::split(2, 1_234_567_890, 0);
    rows.extend(book.ingest(
        DAY,
        &IngestLine {
            day: String::new(),
            subscription_id: None,
            machines: 2,
            allowance_bytes: 0,
            counted_bytes: 1_234_567_890,
            other_bytes: 0,
            free_bytes: free,
            over_bytes: over,
            billed_megabytes: megabytes,
            cost: None,
        },
    ));
    assert_eq!(rows.len(), 6);
    rows
}

fn file(format: Format) -> Vec<u8> {
    let mut writer = Writer::new(format).unwrap();
    let mut out = writer.rows(&rows()).unwrap();
    out.extend(writer.tail().unwrap());
    out
}

fn table() -> Table {
    read::csv(&file(Format::Csv)).unwrap()
}

#[test]
fn what_is_written_fits_the_specification_in_both_formats() {
    let csv = table();
    assert_eq!(check(&csv), []);
    let (parquet, types) = read::parquet(file(Format::Parquet).into()).unwrap();
    assert_eq!(types, []);
    assert_eq!(check(&parquet), []);
    assert_eq!(csv.rows.len(), 6);
    let cell = |table: &Table, row: usize, name: &str| {
        table.rows[row][COLUMNS.iter().position(|c| c.name == name).unwrap()].clone().unwrap_or_default()
    };
    for (row, category, list, billed) in [
        (0, "Standard", "0.493152", "0.493152"),
        (1, "Other", "0.020547", "0.000000"),
        (2, "Committed", "0.143836", "0.000000"),
        (3, "Standard", "0.006849", "0.006849"),
        (4, "Other", "2.300000", "0.000000"),
        (5, "Standard", "0.538200", "0.538200"),
    ] {
        for table in [&csv, &parquet] {
            assert_eq!(cell(table, row, "PricingCategory"), category, "{row}");
            assert_eq!(cell(table, row, "ListCost"), list, "{row}");
            assert_eq!(cell(table, row, "BilledCost"), billed, "{row}");
        }
    }
    assert_eq!(cell(&csv, 0, "Tags"), "{\"env\":\"prod, \\\"a\\\"\"}");
    assert_eq!(cell(&csv, 0, "BillingPeriodStart"), "2026-06-01T00:00:00Z");
}

#[test]
fn a_month_ends_where_the_next_begins() {
    let hour = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_microsecond() / HOUR;
    assert_eq!(month(hour("2026-12-31T23:00:00Z")).1, "2027-01-01T00:00:00Z");
    assert_eq!(month(hour("2028-02-29T23:00:00Z")), ("2028-02-01T00:00:00Z".into(), "2028-03-01T00:00:00Z".into()));
}

/// Our own file, broken in one place: each break is found by the rule that is about it.
#[test]
fn a_broken_copy_is_found_out() {
    let good = table();
    let at = |name: &str| good.names.iter().position(|n| n == name).unwrap();
    let set: &[(&str, Option<&str>, &str)] = &[
        ("BilledCost", None, "null"),
        ("BilledCost", Some("1,000.00"), "decimal"),
        ("BilledCost", Some("9"), "billed-cost"),
        ("EffectiveCost", Some("9.5"), "effective-cost"),
        ("ListCost", Some("0.5"), "list-cost"),
        ("ContractedCost", Some("0.5"), "contracted-cost"),
        ("ListUnitPrice", None, "price-null"),
        ("ListUnitPrice", Some("-1"), "price-negative"),
        ("BillingCurrency", Some("EURO"), "currency"),
        ("BillingCurrency", Some("USD"), "one-currency"),
        ("BillingPeriodEnd", Some("2026-06-01T00:00:00Z"), "billing-period"),
        ("BillingPeriodStart", Some("2026-06-30 00:00"), "time"),
        ("BillingPeriodStart", Some("2026-06-30T00:00:00Z"), "charge-in-billing"),
        ("ChargePeriodEnd", Some("2020-01-01T00:00:00Z"), "charge-period"),
        ("ChargeCategory", Some("usage"), "allowed"),
        ("ChargeClass", Some("Refund"), "allowed"),
        ("ChargeFrequency", Some("Hourly"), "allowed"),
        ("PricingQuantity", None, "quantity-null"),
        ("PricingUnit", None, "pricing-unit"),
        ("ConsumedQuantity", None, "consumed-null"),
        ("ConsumedUnit", None, "consumed-unit"),
        ("SkuPriceId", None, "sku-null"),
        ("SkuId", None, "sku-of-price"),
        ("ResourceType", None, "resource"),
        ("ResourceId", None, "resource"),
        ("SubAccountId", None, "sub-account"),
        ("RegionName", None, "region"),
        ("ServiceCategory", Some("Safety"), "allowed"),
        ("CommitmentDiscountId", Some("seat-9"), "commitment"),
        ("CommitmentDiscountStatus", Some("Used"), "commitment-status"),
        ("Tags", Some("env=prod"), "tags"),
        ("Tags", Some("{\"a\":{\"b\":1}}"), "tags"),
    ];
    for (name, value, rule) in set {
        let mut broken = good.clone();
        broken.rows[0][at(name)] = value.map(str::to_owned);
        let found = check(&broken);
        assert!(found.iter().any(|f| f.rule == *rule), "{name} = {value:?}: {rule} not in {found:?}");
    }
    for info in COLUMNS {
        let mut broken = good.clone();
        let place = at(info.name);
        broken.names.remove(place);
        broken.rows.iter_mut().for_each(|row| drop(row.remove(place)));
        let missing = check(&broken).iter().any(|f| f.rule == "column-missing" && f.column == info.name);
        assert_eq!(missing, info.level == columns::Level::Mandatory, "{}", info.name);
    }
    for (name, rule) in [("listcost", "column-unknown"), ("BilledCost", "column-twice"), ("x_", "column-unknown")] {
        let mut broken = good.clone();
        broken.names[at("AvailabilityZone")] = name.to_owned();
        assert!(check(&broken).iter().any(|f| f.rule == rule), "{name}");
    }
    let mut custom = good.clone();
    custom.names[at("AvailabilityZone")] = "x_CostCentre".to_owned();
    assert_eq!(check(&custom), []);
    let mut short = good;
    short.rows[1].pop();
    assert_eq!(check(&short)[0].rule, "row-length");
}
