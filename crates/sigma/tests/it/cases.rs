//! Every modifier, every form of search and every diagnostic, as data through one door.

use crate::door::{check, check_codes};

#[test]
fn plain_values_compare_without_case() {
    check("f: Foo", r#"[{"f":"foo"},{"f":"FOO"},{"f":"food"},{"f":null},{}]"#, "110 00");
    check("f: 'wi*c?rd'", r#"[{"f":"WildCard"},{"f":"wicard"},{"f":"wicrd"}]"#, "110");
    check(r"f: 'C:\x\*'", r#"[{"f":"c:\\x*"},{"f":"c:\\x\\y"}]"#, "10");
    check(r"f: 'C:\x\\*'", r#"[{"f":"c:\\x\\y"},{"f":"c:\\xy"}]"#, "10");
    check("f: ''", r#"[{"f":""},{"f":"x"},{"f":null}]"#, "100");
    check("f: null", r#"[{"f":""},{"f":"x"},{"f":null}]"#, "001");
    check("f: '*'", r#"[{"f":""},{"f":"x"},{"f":null}]"#, "110");
    check("f: [a, b]", r#"[{"f":"A"},{"f":"b"},{"f":"c"}]"#, "110");
    check("{f: a, g: b}", r#"[{"f":"a","g":"b"},{"f":"a"},{"g":"b"}]"#, "100");
    check("[{f: a}, {g: b}]", r#"[{"f":"a"},{"g":"b"},{"f":"x","g":"y"}]"#, "110");
    check("f: 4625", r#"[{"f":4625},{"f":4626}]"#, "10");
    check("f: 4625", r#"[{"f":"4625"},{"f":"46250"}]"#, "10");
    check("f: '46*'", r#"[{"f":4625},{"f":1462}]"#, "10");
    check("f: true", r#"[{"f":"True"},{"f":"false"}]"#, "10");
    check("f: 'ÄÖ?'", r#"[{"f":"äöü"},{"f":"äö"}]"#, "10");
}

#[test]
fn string_modifiers() {
    let rows = r#"[{"f":"abcdef"},{"f":"xabcx"},{"f":"defabc"},{"f":"ABC"}]"#;
    check("f|contains: abc", rows, "1111");
    check("f|startswith: abc", rows, "1001");
    check("f|endswith: abc", rows, "0011");
    check("f|contains|cased: abc", rows, "1110");
    check("f|cased: ABC", rows, "0001");
    check("f|startswith|cased: ABC", rows, "0001");
    check("f|endswith|cased: ['*BC']", rows, "0001");
    check("f|contains|all: [abc, def]", rows, "1010");
    check("f|neq: ABC", rows, "1110");
    check("f|neq: [abcdef, abc]", rows, "0110");
    check("f|contains: 'a?c*f'", rows, "1000");
    check("f|exists: true", r#"[{"f":""},{"f":null}]"#, "10");
    check("f|exists: false", r#"[{"f":""},{"f":null},{}]"#, "011");
    check("missing|exists: false", r#"[{"f":""}]"#, "1");
}

#[test]
fn encodings() {
    check("f|base64: foobar", r#"[{"f":"Zm9vYmFy"},{"f":"foobar"}]"#, "10");
    check(
        "f|base64offset|contains: 'http://'",
        r#"[{"f":"xxaHR0cDovL2V4"},{"f":"eGh0dHA6Ly9leA=="},{"f":"eHhodHRwOi8vZXg="}]"#,
        "111",
    );
    check("f|wide|base64offset|contains: ping", r#"[{"f":"cABpAG4AZwA="},{"f":"cGluZw=="}]"#, "10");
    check("f|utf16be|base64offset|contains: ping", r#"[{"f":"AHAAaQBuAGc="}]"#, "1");
    check("f|utf16|base64: ab", r#"[{"f":"//5hAGIA"}]"#, "1");
    check("f|utf16le|contains: ab", "[{\"f\":\"xa\\u0000b\\u0000\"},{\"f\":\"ab\"}]", "10");
    check("f|contains|windash: ' -enc'", r#"[{"f":"x -enc"},{"f":"x /ENC"},{"f":"x –enc"},{"f":"x enc"}]"#, "1110");
    check("f|contains|all|windash: ['-a', '-b']", r#"[{"f":"/b –a"},{"f":"-a"}]"#, "10");
}

#[test]
fn regular_expressions() {
    let rows = r#"[{"f":"curl http://1.2.3.4/x"},{"f":"CURL http://1.2.3.4/x"},{"f":"line\ncurl http://9"},{"f":"a"}]"#;
    check(r"f|re: '^curl https?://\d'", rows, "1000");
    check(r"f|re|i: '^curl https?://\d'", rows, "1100");
    check(r"f|re|m: '^curl https?://\d'", rows, "1010");
    check(r"f|re|s: 'line.curl'", rows, "0010");
    check(r"f|re: 'line.curl'", rows, "0000");
    check(r"f|re: ['^a$', '^b$']", rows, "0001");
    check(r"f|re: '^.{1,2}$'", rows, "0001");
}

#[test]
fn numbers_networks_and_times() {
    let rows = r#"[{"f":1},{"f":5},{"f":10}]"#;
    check("f|lt: 5", rows, "100");
    check("f|lte: 5", rows, "110");
    check("f|gt: 5", rows, "001");
    check("f|gte: 5", rows, "011");
    check("f|neq: 5", rows, "101");
    check("f|gt: 5", r#"[{"f":"10"},{"f":"x"},{"f":"6.5"},{"f":null}]"#, "1010");
    let rows = r#"[{"f":"10.1.2.3"},{"f":"11.0.0.1"},{"f":"::ffff:10.0.0.1"},{"f":"fe80::1"},{"f":"no"}]"#;
    check("f|cidr: 10.0.0.0/8", rows, "10100");
    check("f|cidr: ['fe80::/10', '11.0.0.1']", rows, "01010");
    let rows = r#"[{"f":"2026-11-23T22:32:11Z"},{"f":"2025-01-01 00:05:00"},{"f":"later"}]"#;
    check("f|hour: 22", rows, "100");
    check("f|hour|gte: 22", rows, "100");
    check("f|minute: 5", rows, "010");
    check("f|day|lt: 10", rows, "010");
    check("f|week: 48", rows, "100");
    check("f|month: 11", rows, "100");
    check("f|year|lte: 2025", rows, "010");
}

#[test]
fn references_to_fields() {
    let rows = r#"[{"f":"Abc","g":"abc"},{"f":"abcd","g":"abc"},{"f":"xabc","g":"abc"},{"f":"a"},{}]"#;
    check("f|fieldref: g", rows, "10000");
    check("f|fieldref|startswith: g", rows, "11000");
    check("f|fieldref|endswith: g", rows, "10100");
    check("f|fieldref|contains: g", rows, "11100");
    check("f|fieldref|cased: g", rows, "00000");
    check("f|fieldref|neq: g", rows, "01111");
    check("{f|startswith: a, f|fieldref: g}", rows, "10000");
}

#[test]
fn keywords_stand_anywhere() {
    let rows = r#"[{"f":"x Evil y"},{"g":"EVIL"},{"g":"good"},{"f":"evil","g":"bad"}]"#;
    check("[evil]", rows, "1101");
    check("['ev*l y', bad]", rows, "1001");
    check("'|all': [evil, bad]", rows, "0001");
    check("'|re': 'E[vV]'", rows, "1100");
    check("[evil, {g: good}]", rows, "1111");
}

#[test]
fn placeholders_come_from_the_table() {
    let rows = r#"[{"f":"srv1"},{"f":"srv2"},{"f":"%x%"},{"f":"pre-srv1"}]"#;
    check("f|expand: '%servers%'", rows, "1100");
    check("f|expand: 'pre-%servers%'", rows, "0001");
    check("f: '%x%'", rows, "0010");
    check(r"f|expand: '\%x%'", rows, "0010");
    check("f|contains|expand: '%servers%'", rows, "1101");
}

#[test]
fn conditions_combine_searches() {
    let rule =
        |condition: &str| format!("a1: {{f: a}}\na2: {{g: b}}\nfilter: {{h: c}}\n_x: {{f: z}}\ncondition: {condition}");
    let rows = r#"[{"f":"a"},{"g":"b"},{"f":"a","g":"b"},{"f":"a","g":"b","h":"c"},{"f":"z"},{}]"#;
    for (condition, expected) in [
        ("a1", "101100"),
        ("a1 and a2", "001100"),
        ("a1 or a2", "111100"),
        ("1 of a*", "111100"),
        ("all of a*", "001100"),
        ("2 of them", "001100"),
        ("3 of them", "000100"),
        ("1 of them", "111100"),
        ("all of them", "000100"),
        ("all of a* and not filter", "001000"),
        ("not a1 and not 1 of a2", "000011"),
        ("not (a1 or a2)", "000011"),
        ("1 of _*", "000010"),
        ("[a1 and a2, _x]", "001110"),
    ] {
        crate::door::check_detection(&rule(condition), rows, expected);
    }
}

#[test]
fn every_refusal_has_its_number() {
    let detection = |text: &str| format!("title: t\nlogsource: {{category: c}}\ndetection:\n{text}");
    let selection = |text: &str| detection(&format!("    s: {{{text}}}\n    condition: s\n"));
    for (rule, code) in [
        ("title: [", "SG0001"),
        ("a: 1\na: 2", "SG0005"),
        ("- x", "SG0006"),
        ("action: jump\ntitle: t", "SG0008"),
        ("logsource: {category: c}\ndetection: {s: {f: a}, condition: s}", "SG0101"),
        ("title: t\nlogsource: {category: c}", "SG0102"),
        ("title: t\ndetection: {s: {f: a}, condition: s}", "SG0103"),
        ("title: t\nlogsource: {category: c}\ndetection: []", "SG0104"),
        ("title: t\nstatus: unsupported\nlogsource: {category: c}\ndetection: {s: {f: a}, condition: s}", "SG0109"),
        (&detection("    s: {f: a}\n"), "SG0201"),
        (&detection("    condition: s\n"), "SG0202"),
        (&detection("    s: []\n    condition: s\n"), "SG0203"),
        (&detection("    s: [[[[[[[a]]]]]]]\n    condition: s\n"), "SG0204"),
        (&selection("f: {g: 1}"), "SG0205"),
        (&selection("f: []"), "SG0208"),
        (&selection("f|nope: a"), "SG0301"),
        (&selection("f|re|contains: a"), "SG0302"),
        (&selection("f|contains: null"), "SG0303"),
        (&selection("f|re: '(?=a)'"), "SG0304"),
        (&selection("f|re: '((a{999}){999}){999}'"), "SG0305"),
        (&selection("f|cidr: 10.0.0.0/99"), "SG0306"),
        (&selection("f|base64: 'a*'"), "SG0307"),
        (&selection("f|gt: many"), "SG0308"),
        (&selection("f|windash: '------'"), "SG0309"),
        (&selection("f|expand: '%unknown%'"), "SG0310"),
        (&selection("f|exists: maybe"), "SG0311"),
        (&selection(&format!("f: {}", "a".repeat(9_000))), "SG0313"),
        (&selection("f|hour: 24"), "SG0314"),
        (&selection("f|contains|i: a"), "SG0315"),
        (&selection("'|gt': 5"), "SG0316"),
        (&detection("    s: {f: a}\n    condition: s and\n"), "SG0401"),
        (&detection("    s: {f: a}\n    condition: t\n"), "SG0402"),
        (&detection("    s: {f: a}\n    condition: 1 of t*\n"), "SG0403"),
        (&detection("    s: {f: a}\n    condition: s | count() > 5\n"), "SG0405"),
        ("title: t\ncorrelation: {type: x, rules: [r], timespan: 1m}", "SG0501"),
        ("title: t\ncorrelation: {type: temporal, timespan: 1m}", "SG0502"),
        ("title: t\ncorrelation: {type: temporal, rules: [r], timespan: 1m}", "SG0503"),
        ("title: t\ncorrelation: {type: temporal, rules: [r], timespan: 1y}", "SG0504"),
        ("title: t\ncorrelation: {type: temporal, rules: [r], timespan: 99d}", "SG0505"),
        ("title: t\ncorrelation: {type: event_count, rules: [r], timespan: 1m}", "SG0506"),
        ("title: t\ncorrelation: {type: value_sum, rules: [r], timespan: 1m, condition: {gt: 1}}", "SG0507"),
        ("title: t\nname: r\ncorrelation: {type: temporal, rules: [r], timespan: 1m}", "SG0508"),
        ("title: t\ncorrelation: {type: temporal, rules: [r], timespan: 1m, aliases: {a: {z: f}}}", "SG0509"),
        ("title: t\nlogsource: {category: c}\nfilter: {s: {f: a}, condition: s}", "SG0601"),
    ] {
        check_codes(rule, code);
    }
}

#[test]
fn remarks_have_numbers_too() {
    let rule = |text: &str| {
        format!("title: t\nid: x\nlogsource: {{category: c}}\ndetection:\n    s: {{{text}}}\n    condition: s\n")
    };
    for (rule, code) in [
        (rule("f: [a, null]"), "SG0209"),
        (rule("f|contains|all: a"), "SG0210"),
        (rule("f|utf16|contains: a"), "SG0312"),
        (rule("f: a").replace("condition: s", "t: {f: b}\n    condition: s"), "SG0406"),
        (rule("f: a").replace("condition: s", "condition: 2 of s*"), "SG0407"),
        (rule("f: a").replace("id: x\n", ""), "SG0106"),
        (rule("f: a") + "level: huge\n", "SG0107"),
        (rule("f: a") + "status: so-so\n", "SG0108"),
        (rule("f: a") + "taxonomy: ecs\n", "SG0111"),
        (rule("f: a").replace("title: t", &format!("title: {}", "t".repeat(300))), "SG0112"),
    ] {
        check_codes(&rule, code);
    }
}
