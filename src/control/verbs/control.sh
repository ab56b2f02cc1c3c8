#!/bin/sh
# Commands for @WHOM@. Write one to this file, or run the file with it:
#   echo stop > control
#   ./control stop
#
@USAGE@
#
# A write that succeeds has taken effect. Why one failed stands in the file error.
if [ $# -eq 0 ]; then
    sed -n '1d; s/^# \{0,1\}//p' "$0"
    exit 2
fi
if ! printf '%s\n' "$*" 2>/dev/null > "$0"; then
    cat "$(dirname "$0")/error" >&2
    exit 1
fi
