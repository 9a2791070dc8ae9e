/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See goal.h. A name is taken apart at everything that is no letter or digit, and where a capital
 * follows a small letter (`val/macroF1-score`); digits stay with their word (`f1`, `top5`). Words of
 * costs win over those of gains: `score_loss` is a loss; `neg_…` turns it round. One that says nothing
 * is a cost, as most of what is logged while training.
 */
#include "domain/goal.h"

#include <ctype.h>
#include <string.h>

#include "domain/domain.h"

enum { MAX_WORD = 32 };

static const char *const gains[] = {
	"acc",	     "accuracy",    "auc",   "auroc", "aucroc", "roc",	  "auprc", "ap",
	"map",	     "f1",	    "f2",    "fbeta", "fscore", "score",  "r2",	   "precision",
	"recall",    "sensitivity", "specificity",    "dice",	"jaccard", "iou",  "miou",
	"bleu",	     "rouge",	    "meteor", "cider", "reward", "return", "returns", "win",
	"wins",	     "hits",	    "ndcg",  "mrr",   "kappa",	"mcc",	  "corr",  "correlation",
	"pearson",   "spearman",    "nse",   "kge",   "csi",	"psnr",	  "ssim",  "similarity",
	"throughput", "likelihood", "gain",  "success", "coverage", "purity", "silhouette", NULL,
};
static const char *const costs[] = {
	"loss",	      "losses",	 "error", "errors", "err",  "mse",  "rmse",  "mae",  "mape",
	"smape",      "nll",	 "bce",    "ce",   "entropy", "perplexity", "ppl", "wer",
	"cer",	      "fid",	 "kl",	  "divergence", "distance", "residual", "bias", "crps",
	"regret",     "penalty", "cost",  "latency", "brier", "rank", "far", "fpr", "fnr", NULL,
};

static bool is_among(const char *const *words, const char *word)
{
	for (; *words; words++)
		if (strcmp(*words, word) == 0)
			return true;
	return false;
}

/* The next word in lower case; where it ends, or NULL when there is none. */
static const char *next_word(const char *at, char ret[MAX_WORD])
{
	size_t len = 0;

	while (*at && !isalnum((unsigned char)*at))
		at++;
	if (!*at)
		return NULL;
	for (char before = 'A'; isalnum((unsigned char)*at); before = *at++) {
		if (isupper((unsigned char)*at) && islower((unsigned char)before))
			break;
		if (len < MAX_WORD - 1)
			ret[len++] = (char)tolower((unsigned char)*at);
	}
	ret[len] = 0;
	return at;
}

bool mk_goal_guess(const char *metric)
{
	char word[MAX_WORD];
	bool gain = false, cost = false, turned = false;

	while ((metric = next_word(metric, word))) {
		cost |= is_among(costs, word);
		gain |= is_among(gains, word);
		turned |= strcmp(word, "neg") == 0 || strcmp(word, "negative") == 0;
	}
	gain &= !cost;
	return turned ? cost : gain;
}

int mk_goal_follow_tags(struct mk_call *call, struct mk_conn *conn, int64_t experiment_id)
{
#define TAG(key) \
	"(SELECT nullif(value, '') FROM experiment_tags WHERE experiment_id = ?1 AND key = '" key "')"
	_cleanup_stmt_ struct mk_stmt *tags = NULL, *set = NULL;
	int r = mk_domain_row(call, conn,
			      "SELECT " TAG("mlflow.experiment.primaryMetric.name") ", lower("
			      TAG("mlflow.experiment.primaryMetric.greaterIsBetter") ")"
			      " WHERE NOT EXISTS (SELECT 1 FROM texts WHERE kind = 3 AND owner = ?1)",
			      experiment_id, &tags);

	if (r <= 0)
		return r;

	_cleanup_free_ char *metric = mk_col_dup(tags, 0), *greater = mk_col_dup(tags, 1);

	r = mk_prepare(call, conn, "UPDATE experiments SET metric = ?2, maximize = ?3 WHERE id = ?1",
		       &set);
	if (r < 0)
		return r;
	mk_bind_int(set, 1, experiment_id);
	mk_bind_text(set, 2, metric);
	mk_bind_int(set, 3, greater ? strcmp(greater, "true") == 0 : metric && mk_goal_guess(metric));
	return mk_exec(call, set);
}
