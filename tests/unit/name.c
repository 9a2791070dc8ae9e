/* SPDX-License-Identifier: Apache-2.0 */
/* core/format/name: names and directory entries, both ways. */
#include <mantik/name.h>

#include "test.h"

#define N(a) (sizeof(a) / sizeof(*(a)))

static void names_become_entries_and_return(void)
{
	static const struct {
		const char *name, *entry;
	} rows[] = {
		{"a", "a"},
		{"two words", "two words"},
		{"-rf", "-rf"},
		{"it's \"quoted\"", "it's \"quoted\""},
		{"feature/x", "feature%2Fx"},
		{".", "%2E"},
		{"..", "%2E."},
		{".hidden", "%2Ehidden"},
		{"a.b", "a.b"},
		{"50%", "50%"},
		{"50%20", "50%2520"},
		{"50%zz", "50%zz"},
		{"a%~b", "a%25~b"},
		{"a\nb\x7f", "a%0Ab%7F"},
		{"regen-Überblick-雨", "regen-Überblick-雨"},
		{"latin1 \xfc", "latin1 \xfc"},
	};

	for (size_t i = 0; i < N(rows); i++) {
		_cleanup_buf_ struct mk_buf entry = MK_BUF(1000), name = MK_BUF(1000);

		CHECK_INT(mk_name_escape(&entry, rows[i].name, strlen(rows[i].name)), 0);
		CHECK_TEXT(mk_buf_text(&entry), rows[i].entry);
		CHECK_INT(mk_name_unescape(&name, rows[i].entry, strlen(rows[i].entry)), 0);
		CHECK_TEXT(mk_buf_text(&name), rows[i].name);
		CHECK(mk_name_is(rows[i].entry, rows[i].name));
	}

	_cleanup_buf_ struct mk_buf entry = MK_BUF(1000);

	CHECK_INT(mk_name_escape(&entry, "a\0b", 3), 0);
	CHECK_TEXT(mk_buf_text(&entry), "a%00b");
}

static void what_no_name_gives_is_no_entry(void)
{
	static const char *rows[] = {"%41", ".x", "a%2fb", "..", "", "a/b", "a\nb"};

	for (size_t i = 0; i < N(rows); i++) {
		_cleanup_buf_ struct mk_buf name = MK_BUF(1000);

		CHECK_INT(mk_name_unescape(&name, rows[i], strlen(rows[i])), -EINVAL);
		CHECK_INT(name.len, 0);
	}
}

static void long_names_are_cut_with_a_hash(void)
{
	char long_name[301];

	for (int wide = 0; wide < 2; wide++) {
		_cleanup_buf_ struct mk_buf a = MK_BUF(1000), b = MK_BUF(1000), c = MK_BUF(1000);

		for (size_t i = 0; i < 300; i++)
			long_name[i] = !wide ? 'x' : "\xe9\x9b\xa8"[i % 3];
		long_name[300] = 0;
		CHECK_INT(mk_name_escape(&a, long_name, 300), 0);
		CHECK_INT(mk_name_escape(&b, long_name, 297), 0);
		CHECK(a.len <= 255 && a.len > 250);
		CHECK(strcmp(a.data, b.data) != 0);
		CHECK(memcmp(a.data + a.len - 18, "%~", 2) == 0);
		if (wide)
			CHECK_INT((a.len - 18) % 3, 0);
		CHECK_INT(mk_name_unescape(&c, a.data, a.len), -ENOENT);
		CHECK(mk_name_is(a.data, long_name));
	}

	/* 255 bytes fit as they are. */
	_cleanup_buf_ struct mk_buf entry = MK_BUF(1000);

	memset(long_name, 'y', 255);
	CHECK_INT(mk_name_escape(&entry, long_name, 255), 0);
	CHECK_INT(entry.len, 255);
	CHECK(entry.data[254] == 'y');
	/* Bytes that never end a character are cut all the same. */
	mk_buf_truncate(&entry, 0);
	memset(long_name, 0x80, 300);
	CHECK_INT(mk_name_escape(&entry, long_name, 300), 0);
	CHECK_INT(entry.len, 255);
}

static void keys_are_paths(void)
{
	static const struct {
		const char *key, *path;
	} rows[] = {
		{"loss", "loss"},   {"train/loss", "train/loss"},   {"a%", "a%25"},
		{"a%/b", "a%25/b"}, {"mlflow.user", "mlflow.user"}, {"../x", "%2E./x"},
		{"a//b", "a/%/b"},  {"p 50%20", "p 50%2520"},
	};

	for (size_t i = 0; i < N(rows); i++) {
		_cleanup_buf_ struct mk_buf path = MK_BUF(1000), key = MK_BUF(1000);

		CHECK_INT(mk_key_escape(&path, rows[i].key), 0);
		CHECK_TEXT(mk_buf_text(&path), rows[i].path);
		CHECK_INT(mk_key_unescape(&key, rows[i].path), 0);
		CHECK_TEXT(mk_buf_text(&key), rows[i].key);
	}

	_cleanup_buf_ struct mk_buf key = MK_BUF(1000);

	CHECK_INT(mk_key_unescape(&key, "a%"), -EINVAL);
	CHECK_INT(mk_key_unescape(&key, "a%2Fb"), -EINVAL);
	CHECK_INT(mk_key_unescape(&key, "a%00b"), -EINVAL);
	CHECK_INT(mk_key_unescape(&key, "a/"), -EINVAL);
}

/* `a%` of a name that fills its entry is cut, too, and unlike the directory's. */
static void parts_of_keys_are_cut(void)
{
	char part[301];

	for (size_t len = 250; len <= 300; len++) {
		for (int marked = 0; marked < 2; marked++) {
			_cleanup_buf_ struct mk_buf entry = MK_BUF(1000), head = MK_BUF(1000);
			size_t own;

			memset(part, 'x', len);
			part[len] = 0;
			CHECK_INT(mk_key_part(&entry, part, len, marked), 0);
			CHECK(entry.len <= 255);
			CHECK(!marked || entry.data[entry.len - 1] == '%');
			own = entry.len - (size_t)marked;
			CHECK_INT(mk_key_part_read(&head, entry.data, own),
				  len + (size_t)marked > 255 ? -ENOENT : 0);
			CHECK(head.len && head.len <= len && !memcmp(head.data, part, head.len));
		}
	}

	_cleanup_buf_ struct mk_buf entry = MK_BUF(1000), head = MK_BUF(1000);

	memset(part, 1, 250);
	CHECK_INT(mk_key_part(&entry, part, 250, false), 0);
	CHECK(memcmp(entry.data, "%01%01", 6) == 0);
	CHECK_INT(mk_key_part_read(&head, entry.data, entry.len), -ENOENT);
	CHECK_INT(head.len, 79);
	CHECK_INT(mk_key_unescape(&head, entry.data), -ENOENT);
	CHECK_INT(head.len, 79);
}

static void run_directories_end_in_digits_of_the_uid(void)
{
	static const char uid[] = "1a2b3c4d5e6f708192a3b4c5d6e7f809";
	_cleanup_buf_ struct mk_buf dir = MK_BUF(1000);
	char long_name[301] = "";

	CHECK_INT(mk_name_run_dir(&dir, "prep", uid, 8), 0);
	CHECK_TEXT(mk_buf_text(&dir), "prep.1a2b3c4d");
	mk_buf_truncate(&dir, 0);
	CHECK_INT(mk_name_run_dir(&dir, "a/b", uid, 10), 0);
	CHECK_TEXT(mk_buf_text(&dir), "a%2Fb.1a2b3c4d5e");
	mk_buf_truncate(&dir, 0);
	memset(long_name, 'x', 300);
	CHECK_INT(mk_name_run_dir(&dir, long_name, uid, 32), 0);
	CHECK_INT(dir.len, 255);
	CHECK_TEXT(dir.data + dir.len - 33, ".1a2b3c4d5e6f708192a3b4c5d6e7f809");
}

int main(void)
{
	return RUN(TEST(names_become_entries_and_return), TEST(what_no_name_gives_is_no_entry),
		   TEST(long_names_are_cut_with_a_hash), TEST(keys_are_paths),
		   TEST(parts_of_keys_are_cut),
		   TEST(run_directories_end_in_digits_of_the_uid));
}
