#!/bin/sh
# A compiler that also marks which branches run, in our own crates only: all else is built as it always is.
compiler="$1"
shift
case " $* " in
*" --crate-name garrison_kql "* | *" --crate-name garrison_sigma "* | *" --crate-name query_text "* | *" --crate-name rule_text "*)
    exec "$compiler" "$@" --cfg fuzzing -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1 -Cpasses=sancov-module \
        -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
*) exec "$compiler" "$@" ;;
esac
