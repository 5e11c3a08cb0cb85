#!/bin/sh
# same_output.sh PROGRAM.py FILE: the program prints what is in the file.
/usr/bin/python3 "$1" | cmp - "$2"
