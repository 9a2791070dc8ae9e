/* SPDX-License-Identifier: Apache-2.0 */
/* Texts that are the same for everybody: README.txt, .ignore, .mantik/version. */
#include "../noun.h"

static const char *const texts[] = {
	[FS_TEXT_README] =
		"mantikfs: your experiments and jobs as files\n"
		"============================================\n"
		"\n"
		"Make a project, add code, run it:\n"
		"\n"
		"  mkdir projects/rain\n"
		"  mkdir projects/rain/code/model\n"
		"  echo 'uri: https://example.org/model.git' > projects/rain/code/model/repository.yaml\n"
		"  ls projects/rain/code/model/specs/main/         run specs, ready to copy\n"
		"  cp SPEC projects/rain/runs/new                  validates and submits\n"
		"  cat projects/rain/runs/new                      the name of the run, or why not\n"
		"\n"
		"Look at a run (projects/rain/runs/latest is your newest):\n"
		"\n"
		"  cat runs/X/status                SCHEDULED RUNNING FINISHED FAILED KILLED UNKNOWN\n"
		"  cat runs/X/info.yaml             everything about it, and the reason in one line\n"
		"  tail -f runs/X/logs/stdout       follows the log\n"
		"  cat runs/X/wait                  returns the final status when it has ended\n"
		"  cat runs/X/metrics/loss          step, value, time\n"
		"  ls runs/X/artifacts              what it left behind\n"
		"  cd runs/X/workdir/               where it runs\n"
		"\n"
		"Do something with it:\n"
		"\n"
		"  echo cancel > runs/X/ctl         also: rerun refresh clean delete restore\n"
		"  cp runs/X/spec.yaml runs/new     runs it again, exactly\n"
		"  echo 0.5 >> runs/X/metrics/loss  logs a value (or: step value)\n"
		"  echo good > runs/X/tags/review\n"
		"  mv runs/X runs/deleted/          and back\n"
		"\n"
		"Compare:\n"
		"\n"
		"  column -t -s \"$(printf '\\t')\" projects/rain/experiments/E/leaderboard.tsv\n"
		"  cat projects/rain/runs/runs.tsv\n"
		"\n"
		"See an MLflow server, too (mantikfs --tracking URL does the same):\n"
		"\n"
		"  printf 'kind: mlflow\\nurl: http://host:5000\\n' > connections/host.yaml\n"
		"  mantikctl login host             a password or token, kept where nobody reads it\n"
		"  ls projects/host/experiments\n"
		"\n"
		"Texts that end in .yaml or .md and are writable are edited with any editor.\n"
		"rm -rf destroys nothing here; `mantikctl delete` does, and asks.\n"
		"When something is refused: cat .mantik/errors, or mantikctl why PATH.\n"
		"The whole tree: man 7 mantikfs\n",
	[FS_TEXT_IGNORE] = "code/\ndata/\nsites/\n.mantik/\n",
	[FS_TEXT_VERSION] = MANTIK_VERSION "\n",
};

int fs_fixed_stat(struct fs_at *at, struct fs_stat *st)
{
	st->size = (int64_t)strlen(texts[at->row->which]);
	st->generation = 1;
	return 0;
}

int fs_fixed_show(struct fs_at *at, struct mk_buf *text)
{
	return mk_buf_puts(text, texts[at->row->which]);
}
