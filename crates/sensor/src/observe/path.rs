//! Paths as the kernel side writes them, and paths as programs write them.

/// Turns components from the file up to the root, each ended by NUL, into a path. `...` as the last one says that the
/// nesting was deeper than what was followed.
pub fn from_reversed(bytes: &[u8]) -> String {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.is_empty() {
        return "/".to_owned();
    }
    let mut path = Vec::with_capacity(bytes.len() + 1);
    let mut components = bytes.split(|b| *b == 0).rev().peekable();
    // A file that is in no folder tells its own name and then, as the root of its filesystem, "/".
    if components.peek() == Some(&&b"/"[..]) {
        components.next();
    }
    for component in components {
        path.push(b'/');
        path.extend_from_slice(component);
    }
    if path.is_empty() {
        path.push(b'/');
    }
    let text = lossy(path);
    // A memory-only file is in no folder at all.
    match text.strip_prefix("/memfd:") {
        Some(_) => text[1..].to_owned(),
        None => text,
    }
}

/// Text of bytes, replacing what is not UTF-8, without a copy if it is.
pub fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// The absolute path that `text` means from the folder `base`: `.`, `..` and doubled slashes are resolved by text alone
/// (symbolic links are not looked up: the file may be gone).
pub fn absolute(base: &str, text: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let start = if text.starts_with('/') { "" } else { base };
    for part in start.split('/').chain(text.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    let mut path = String::with_capacity(start.len() + text.len() + 1);
    for part in parts {
        path.push('/');
        path.push_str(part);
    }
    if path.is_empty() {
        path.push('/');
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kernel_paths_are_turned_round() {
        assert_eq!(from_reversed(b"true\0bin\0usr\0"), "/usr/bin/true");
        assert_eq!(from_reversed(b""), "/");
        assert_eq!(from_reversed(b"memfd:x\0"), "memfd:x");
        assert_eq!(from_reversed(b"deep\0...\0"), "/.../deep");
        assert_eq!(from_reversed(b"/\0"), "/");
    }

    #[test]
    fn written_paths_are_made_absolute() {
        assert_eq!(absolute("/home/a", "b/../c"), "/home/a/c");
        assert_eq!(absolute("/home/a", "//etc/./passwd"), "/etc/passwd");
        assert_eq!(absolute("/", "../../x"), "/x");
        assert_eq!(absolute("/x", ".."), "/");
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_absolute_path(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in ".{0,80}") {
            let path = from_reversed(&bytes);
            prop_assert!(path.starts_with('/') || path.starts_with("memfd:"));
            let path = absolute(&path, &text);
            prop_assert!(path.starts_with('/') && !path.contains("//"));
        }
    }
}
