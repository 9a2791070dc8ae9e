# SPDX-License-Identifier: Apache-2.0
"""Writes the powers of ten that double.c multiplies with: powers.py OUTPUT.

For k in -292 … 324 the upper 128 bits of 10^k, rounded up: g = ceil(10^k / 2^(floor(log2 10^k) -
127)), as (high, low). Exact, by Python's integers.
"""
import sys


def upper128(k):
    if k >= 0:
        num, den = 10 ** k, 1
    else:
        num, den = 1, 10 ** -k
    # floor(log2(num / den))
    e = num.bit_length() - den.bit_length()
    if (num << max(0, -e)) < (den << max(0, e)):
        e -= 1
    shift = 127 - e
    if shift >= 0:
        num <<= shift
    else:
        den <<= -shift
    g = -(-num // den)
    assert g.bit_length() == 128, k
    return g >> 64, g & (2 ** 64 - 1)


with open(sys.argv[1], 'w', encoding='utf-8') as out:
    out.write('/* Made by powers.py. */\n#include "base/powers.h"\n\n')
    out.write('const uint64_t mk_powers_of_ten[][2] = {\n')
    for k in range(-292, 325):
        out.write('\t{UINT64_C(0x%016x), UINT64_C(0x%016x)}, /* 1e%d */\n' % (*upper128(k), k))
    out.write('};\n')
