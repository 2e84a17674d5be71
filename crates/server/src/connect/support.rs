//! Which machines the sensor is installed on: a data file and a pure judgement.

use garrison_model::ExtensionCode;
use serde::Deserialize;
use std::cmp::Ordering;
use std::sync::LazyLock;

/// The file's version that is read.
const VERSION: i64 = 1;

/// The list of supported machines.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Supported {
    version: i64,
    minimum: Minimum,
    distribution: Vec<Distribution>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Minimum {
    kernel: String,
    processors: u32,
    memory_bytes: u64,
    disk_free_bytes: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Distribution {
    id: String,
    versions: Vec<String>,
    arm64: Vec<String>,
}

/// What is judged by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sheet {
    /// `ID` of os-release.
    pub distribution: String,
    /// `VERSION_ID` of os-release.
    pub version: String,
    /// Release of the kernel.
    pub kernel: String,
    /// `x64` or `arm64`.
    pub architecture: String,
    /// Processors.
    pub processors: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Free bytes where the sensor is to be; `None` where it is already.
    pub disk_free_bytes: Option<u64>,
}

/// The list that comes with the program.
pub static SUPPORTED: LazyLock<Supported> = LazyLock::new(|| {
    // The test below reads the same text; a file that cannot be read supports nothing.
    Supported::parse(include_str!("../../../../content/supported-machines.toml")).unwrap_or_else(|_| Supported {
        version: VERSION,
        minimum: Minimum { kernel: String::new(), processors: 0, memory_bytes: 0, disk_free_bytes: 0 },
        distribution: Vec::new(),
    })
});

fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter(|p| !p.is_empty()).take(8).filter_map(|p| p.parse().ok()).collect()
}

/// Whether a version fits a pattern: `8` every 8, `7.2+` 7.2 and every later 7.
fn fits(version: &str, pattern: &str) -> bool {
    let open = pattern.ends_with('+');
    let (version, wanted) = (numbers(version), numbers(pattern));
    let Some((last, before)) = wanted.split_last() else { return false };
    let Some(first) = version.get(..before.len()) else { return false };
    if first != before {
        return false;
    }
    match version.get(before.len()) {
        Some(part) if open => part >= last,
        Some(part) => part == last,
        None => false,
    }
}

/// Compares releases of kernels by their numbers, as many as the second has.
fn at_least(kernel: &str, minimum: &str) -> bool {
    let (kernel, minimum) = (numbers(kernel), numbers(minimum));
    for (at, wanted) in minimum.iter().enumerate() {
        match kernel.get(at).copied().unwrap_or(0).cmp(wanted) {
            Ordering::Less => return false,
            Ordering::Greater => return true,
            Ordering::Equal => {}
        }
    }
    true
}

impl Supported {
    /// Reads a list.
    pub fn parse(text: &str) -> Result<Self, String> {
        let list: Self = toml::from_str(text).map_err(|e| e.message().to_owned())?;
        if list.version == VERSION { Ok(list) } else { Err(format!("version {} is not {VERSION}", list.version)) }
    }

    /// Whether the sensor is installed on such a machine; else the code and what exactly.
    pub fn judge(&self, sheet: &Sheet) -> Result<(), (ExtensionCode, String)> {
        let shown = |text: &str| -> String { text.chars().filter(|c| !c.is_control()).take(60).collect() };
        let lacks = |what: String| Err((ExtensionCode::InsufficientRequirements, what));
        let Some(distribution) = self.distribution.iter().find(|d| d.id == sheet.distribution) else {
            let detail = format!("the distribution is `{}`", shown(&sheet.distribution));
            return Err((ExtensionCode::UnsupportedDistro, detail));
        };
        let versions = match sheet.architecture.as_str() {
            "x64" => &distribution.versions,
            "arm64" => &distribution.arm64,
            other => return lacks(format!("the architecture is `{}`; x64 and arm64 are supported", shown(other))),
        };
        if !versions.iter().any(|pattern| fits(&sheet.version, pattern)) {
            let detail = format!(
                "`{}` {} on {} is not among {}",
                distribution.id,
                shown(&sheet.version),
                sheet.architecture,
                if versions.is_empty() { "any".to_owned() } else { versions.join(", ") }
            );
            return Err((ExtensionCode::UnsupportedVersion, detail));
        }
        let m = &self.minimum;
        if !at_least(&sheet.kernel, &m.kernel) {
            return lacks(format!("the kernel is {}, {} or newer is needed", shown(&sheet.kernel), m.kernel));
        }
        if sheet.processors < m.processors {
            return lacks(format!("{} processors, {} are needed", sheet.processors, m.processors));
        }
        if sheet.memory_bytes < m.memory_bytes {
            return lacks(format!("{} bytes of memory, {} are needed", sheet.memory_bytes, m.memory_bytes));
        }
        if let Some(free) = sheet.disk_free_bytes
            && free < m.disk_free_bytes
        {
            return lacks(format!("{free} bytes free on the disk, {} are needed", m.disk_free_bytes));
        }
        Ok(())
    }
}

/// The reference page of supported machines, in Markdown.
pub fn page(list: &Supported) -> String {
    let m = &list.minimum;
    let mut page = format!(
        "# Supported machines\n\nGenerated from `content/supported-machines.toml` by `cargo xtask docs`.\n\nA machine that \
         is not listed gets a code ([codes of extensions](extension-codes.md)) and is left untouched.\nAt least: kernel \
         {}, {} processor, {} bytes of memory, {} bytes free on the disk.\nsystemd is used where it is PID 1 and not \
         needed elsewhere.\n\n| distribution | versions on x64 | versions on arm64 |\n|---|---|---|\n",
        m.kernel, m.processors, m.memory_bytes, m.disk_free_bytes
    );
    for d in &list.distribution {
        let arm64 = if d.arm64.is_empty() { "–".to_owned() } else { d.arm64.join(", ") };
        page.push_str(&format!("| `{}` | {} | {arm64} |\n", d.id, d.versions.join(", ")));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use ExtensionCode as C;

    fn sheet(distribution: &str, version: &str, kernel: &str, architecture: &str) -> Sheet {
        Sheet {
            distribution: distribution.into(),
            version: version.into(),
            kernel: kernel.into(),
            architecture: architecture.into(),
            processors: 1,
            memory_bytes: 2 << 30,
            disk_free_bytes: Some(4 << 30),
        }
    }

    #[test]
    fn a_machine_is_supported_or_has_the_code_that_says_why_not() {
        let list = Supported::parse(include_str!("../../../../content/supported-machines.toml")).unwrap();
        let ok = || sheet("debian", "12", "6.1.0-18-amd64", "x64");
        for (sheet, wanted) in [
            (ok(), Ok(())),
            (sheet("rhel", "7.2", "3.10.0-327.el7", "x64"), Ok(())),
            (sheet("rhel", "7.1", "3.10.0-327.el7", "x64"), Err(C::UnsupportedVersion)),
            (sheet("rhel", "7.9", "3.10.0-229.el7", "x64"), Err(C::InsufficientRequirements)),
            (sheet("rhel", "8", "4.18.0-80.el8", "arm64"), Ok(())),
            (sheet("rocky", "8.6", "4.18.0", "x64"), Err(C::UnsupportedVersion)),
            (sheet("rocky", "8.10", "4.18.0", "x64"), Ok(())),
            (sheet("rocky", "9", "5.14.0", "x64"), Err(C::UnsupportedVersion)),
            (sheet("ubuntu", "24.10", "6.11.0", "x64"), Err(C::UnsupportedVersion)),
            (sheet("ubuntu", "18.04", "4.15.0", "arm64"), Err(C::UnsupportedVersion)),
            (sheet("amzn", "2023", "6.1.0", "arm64"), Ok(())),
            (sheet("arch", "", "6.1.0", "x64"), Err(C::UnsupportedDistro)),
            (sheet("debian", "", "6.1.0", "x64"), Err(C::UnsupportedVersion)),
            (sheet("debian", "12", "6.1.0", "riscv64"), Err(C::InsufficientRequirements)),
            (sheet("debian", "12", "", "x64"), Err(C::InsufficientRequirements)),
            (Sheet { memory_bytes: 1 << 29, ..ok() }, Err(C::InsufficientRequirements)),
            (Sheet { disk_free_bytes: Some(1 << 20), ..ok() }, Err(C::InsufficientRequirements)),
            (Sheet { disk_free_bytes: None, ..ok() }, Ok(())),
            (Sheet { processors: 0, ..ok() }, Err(C::InsufficientRequirements)),
        ] {
            assert_eq!(list.judge(&sheet).map_err(|e| e.0), wanted, "{sheet:?}");
        }
    }

    #[test]
    fn the_reference_page_is_current() {
        let path =
            format!("{}/../../docs/reference/supported-machines.md", std::env::var("CARGO_MANIFEST_DIR").unwrap());
        let wanted = page(&SUPPORTED);
        if std::env::var_os("GARRISON_BLESS").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(there == wanted, "docs/reference/supported-machines.md is old: run `cargo xtask docs`");
    }
}
