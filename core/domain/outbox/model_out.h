/* SPDX-License-Identifier: Apache-2.0 */
/* What is written of models: rows of the outbox of the object `model:<id>` (outbox.h). */
#ifndef MK_MODEL_OUT_H
#define MK_MODEL_OUT_H

#include "domain/outbox/outbox.h"

/* As it was to be; as it was before; the store took it; its file in the tree. */
int mk_model_out_apply(struct mk_call *call, struct mk_conn *conn,
		       const struct mk_out *row) _must_check_;
int mk_model_out_take_back(struct mk_call *call, struct mk_conn *conn,
			   const struct mk_out *row) _must_check_;
int mk_model_out_written(struct mk_call *call, struct mk_conn *conn,
			 const struct mk_out *row) _must_check_;
int mk_model_out_path(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row,
		      struct mk_buf *ret) _must_check_;
/* The lines of a text: the aliases of a version. */
int mk_lines(struct mk_call *call, const char *text, struct mk_list *ret) _must_check_;

#endif
