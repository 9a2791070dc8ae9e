/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shortest decimal text that reads back as the same double, fast enough for a metric of a
 * million points: Raffaello Giulietti's Schubfach ("The Schubfach way to render doubles", 2021),
 * which needs three 64x128-bit products and no loop. The letters are those of the paper.
 */
#include <mantik/mantik.h>

#include <math.h>
#include <string.h>

#include "base/powers.h"

__extension__ typedef unsigned __int128 u128;

struct decimal {
	uint64_t digits;
	int exponent;
};

static int floor_log2_pow10(int e)
{
	return (e * 1741647) >> 19;
}

/* The product g * cp / 2^128, its lowest bit set if anything was cut off. */
static uint64_t round_to_odd(const uint64_t g[2], uint64_t cp)
{
	u128 x = (u128)g[1] * cp;
	u128 y = (u128)g[0] * cp + (uint64_t)(x >> 64);

	return (uint64_t)(y >> 64) | ((uint64_t)y > 1);
}

/* value is finite and above 0. */
static struct decimal shortest(double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));

	uint64_t fraction = bits & ((UINT64_C(1) << 52) - 1);
	int biased = (int)(bits >> 52 & 0x7ff);
	uint64_t c = biased ? fraction | UINT64_C(1) << 52 : fraction;
	int q = biased ? biased - 1075 : -1074;

	if (q <= 0 && q > -53 && !(c & ((UINT64_C(1) << -q) - 1)))
		return (struct decimal){c >> -q, 0}; /* an integer */

	bool is_even = !(c & 1);
	bool closer = !fraction && biased > 1; /* the neighbour below is */
	int k = (q * 1262611 - (closer ? 524031 : 0)) >> 22;
	int h = q + floor_log2_pow10(-k) + 1;
	const uint64_t *g = mk_powers_of_ten[-k + 292];
	uint64_t lower = round_to_odd(g, (4 * c - 2 + closer) << h) + !is_even;
	uint64_t vb = round_to_odd(g, 4 * c << h);
	uint64_t upper = round_to_odd(g, (4 * c + 2) << h) - !is_even;
	uint64_t s = vb / 4;

	if (s >= 10) {
		uint64_t sp = s / 10;
		bool up = lower <= 40 * sp;
		bool wp = 40 * sp + 40 <= upper;

		if (up != wp)
			return (struct decimal){sp + wp, k + 1};
	}

	bool u = lower <= 4 * s;
	bool w = 4 * s + 4 <= upper;

	if (u != w)
		return (struct decimal){s + w, k};

	uint64_t mid = 4 * s + 2;

	return (struct decimal){s + (vb > mid || (vb == mid && (s & 1))), k};
}

static size_t put_digits(uint64_t v, char out[20])
{
	char back[20];
	size_t n = 0;

	do
		back[n++] = (char)('0' + v % 10);
	while (v /= 10);
	for (size_t i = 0; i < n; i++)
		out[i] = back[n - 1 - i];
	return n;
}

static size_t put_exponent(int e, char *out)
{
	char *s = out;

	*s++ = 'e';
	*s++ = e < 0 ? '-' : '+';
	e = e < 0 ? -e : e;
	if (e >= 100)
		*s++ = (char)('0' + e / 100);
	*s++ = (char)('0' + e / 10 % 10);
	*s++ = (char)('0' + e % 10);
	return (size_t)(s - out);
}

/* Plain from 1e-04 to below 1e16, else with an exponent of two digits or three, as C and Python. */
size_t mk_double_put(double value, char out[32])
{
	char *s = out;

	if (isnan(value) || isinf(value)) {
		const char *word = isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";

		return (size_t)(stpcpy(out, word) - out);
	}
	if (signbit(value)) {
		*s++ = '-';
		value = -value;
	}
	if (value == 0) {
		*s++ = '0';
		*s = 0;
		return (size_t)(s - out);
	}

	struct decimal d = shortest(value);
	char digits[20] = {0};

	while (d.digits % 10 == 0) {
		d.digits /= 10;
		d.exponent++;
	}

	int n = (int)put_digits(d.digits, digits);
	int point = n + d.exponent; /* digits before the point */

	if (point > -4 && point <= 16) {
		if (point <= 0) {
			*s++ = '0';
			*s++ = '.';
			for (int i = point; i < 0; i++)
				*s++ = '0';
		}
		for (int i = 0; i < n; i++) {
			if (i == point && point > 0)
				*s++ = '.';
			*s++ = digits[i];
		}
		for (int i = n; i < point; i++)
			*s++ = '0';
	} else {
		*s++ = digits[0];
		if (n > 1) {
			*s++ = '.';
			memcpy(s, digits + 1, (size_t)n - 1);
			s += n - 1;
		}
		s += put_exponent(point - 1, s);
	}
	*s = 0;
	return (size_t)(s - out);
}
