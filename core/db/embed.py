# SPDX-License-Identifier: Apache-2.0
"""Writes a text file as a C string: embed.py HEADER NAME INPUT OUTPUT."""
import sys

header, name, source, target = sys.argv[1:]
with open(source, encoding='utf-8') as f, open(target, 'w', encoding='utf-8') as out:
    out.write(f'/* Made from {name}\'s source by embed.py. */\n#include "{header}"\n\n')
    out.write(f'const char {name}[] =\n')
    for line in f:
        text = line.rstrip('\n').replace('\\', '\\\\').replace('"', '\\"').replace('\t', '\\t')
        out.write(f'\t"{text}\\n"\n')
    out.write('\t;\n')
