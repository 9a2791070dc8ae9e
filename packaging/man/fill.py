# SPDX-License-Identifier: Apache-2.0
"""Puts what mantikctl tells about itself into a manual page: each line `@WORD@` of the page becomes
the output of `mantikctl --generate WORD`."""
import re
import subprocess
import sys

page, program, version = sys.argv[1:4]
for line in open(page, encoding="utf-8"):
    word = re.fullmatch(r"@([a-z-]+)@\n", line)
    if word:
        line = subprocess.run([program, "--generate", word[1]], check=True, text=True,
                              stdout=subprocess.PIPE).stdout
    sys.stdout.write(line.replace("@VERSION@", version))
