/* SPDX-License-Identifier: Apache-2.0 */
/* core/format: backend configs, job scripts (run by bash) and plans. */
#include "format/backend.h"
#include "format/plan.h"
#include "format/script.h"
#include "net/exec.h"

#include <sys/stat.h>

#include "test.h"
#include "tmpdir.h"

#define N(a) (sizeof(a) / sizeof(*(a)))

static int parse(struct mk_call *call, const char *text, struct mk_backend *ret)
{
	mk_error_clear(call);
	return mk_backend_parse_text(call, "c.yaml", text, strlen(text), ret);
}

static void reads_every_key(void)
{
	static const char text[] =
		"UnicoreApiUrl: https://s.example/rest/core\n"
		"Resources:\n"
		"  {Queue: devel, Runtime: 12h, Nodes: '2', TotalCPUs: 8, CPUsPerNode: 4, GPUsPerNode: "
		"3, MemoryPerNode: 12GiB, Reservation: r, NodeConstraints: gpu, QoS: q}\n"
		"Environment:\n"
		"  Python: {Path: /p/venv}\n"
		"  Modules: [Stages/2023, GCC Python/3.9.6]\n"
		"  Variables: {A: 1, B: True, C: 'x y', D: ''}\n"
		"  PreRunCommandOnLoginNode: git pull\n"
		"  PreRunCommandOnComputeNode: [a, 1]\n"
		"  PostRunCommandOnComputeNode: |\n"
		"    b\n"
		"    c\n"
		"  PostRunCommandOnLoginNode: d\n"
		"Exclude: '*.sif'\n";
	_cleanup_call_ struct mk_call call;
	_cleanup_backend_ struct mk_backend b = {};

	mk_call_init(&call);
	CHECK_INT(parse(&call, text, &b), 0);
	CHECK_TEXT(call.error.text, NULL);
	CHECK_INT(b.kind, MK_BACKEND_UNICORE);
	CHECK_TEXT(mk_backend_site(&b), "https://s.example/rest/core");
	CHECK_TEXT(b.queue, "devel");
	CHECK_INT(b.runtime, 12 * 3600);
	CHECK_INT(b.nodes, 2);
	CHECK_INT(b.total_cpus, 8);
	CHECK_INT(b.cpus_per_node, 4);
	CHECK_INT(b.gpus_per_node, 3);
	CHECK_TEXT(b.memory_per_node, "12GiB");
	CHECK_TEXT(b.reservation, "r");
	CHECK_TEXT(b.node_constraints, "gpu");
	CHECK_TEXT(b.qos, "q");
	CHECK_TEXT(b.python, "/p/venv");
	NEED(b.modules.n == 3 && b.variables.n == 4 && b.pre_compute.n == 2 && b.exclude.n == 1);
	CHECK_TEXT(b.modules.v[2], "Python/3.9.6");
	CHECK_TEXT(mk_pairs_get(&b.variables, "A"), "1");
	CHECK_TEXT(mk_pairs_get(&b.variables, "B"), "True");
	CHECK_TEXT(mk_pairs_get(&b.variables, "D"), "");
	CHECK_TEXT(b.pre_login.v[0], "git pull");
	CHECK_TEXT(b.pre_compute.v[1], "1");
	CHECK_TEXT(b.post_compute.v[0], "b\nc");
	CHECK_TEXT(b.post_login.v[0], "d");
	CHECK_TEXT(b.exclude.v[0], "*.sif");
	CHECK_INT(b.notes.n, 0);
}

static void accepts_what_says_little(void)
{
	static const char *const texts[] = {
		"", "{}", "Environment:\n", "Resources:\nExclude:\n",
		"Environment: {Variables: , Modules: , PreRunCommandOnLoginNode: []}\n",
		"Resources: {Runtime: '0'}\n", "Resources: {GPUsPerNode: 0}\n",
		"SSH: {Hostname: h}\n", "SSH: {Hostname: h, Port: '8000'}\n",
	};
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	for (size_t i = 0; i < N(texts); i++) {
		_cleanup_backend_ struct mk_backend b = {};

		CHECK_INT(parse(&call, texts[i], &b), 0);
		CHECK_TEXT(call.error.text, NULL);
		CHECK_INT(b.notes.n, 0);
	}
}

static void refuses_with_the_right_spelling(void)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		/* keys */
		{"UnicoreApiUrlX: https://a\n", "unknown key \"UnicoreApiUrlX\", did you mean "
						"\"UnicoreApiUrl\"?"},
		{"resources: {Queue: a}\n", "unknown key \"resources\", did you mean \"Resources\"?"},
		{"Zebra: 1\n", "unknown key \"Zebra\""},
		{"Resources: {Zebra: 1}\n", "unknown key \"Zebra\" below Resources"},
		{"Modules: [a]\n", "\"Modules\" stands at the top, but belongs below Environment"},
		{"Environment: {Options: [--nv]}\n",
		 "\"Options\" stands below Environment, but belongs below Environment.Apptainer"},
		{"Environment: {Exclude: a}\n",
		 "\"Exclude\" stands below Environment, but belongs at the top"},
		{"Queue: a\n", "\"Queue\" stands at the top, but belongs below Resources"},
		{"SingularityImage: a.sif\n", "unknown key \"SingularityImage\": write Environment: {Apptainer: {Path: "
					      "a.sif}}"},
		{"SingularityImage: {Path: a.sif, Type: remote}\n",
		 "unknown key \"SingularityImage\": write Environment: {Apptainer: {Path: a.sif, Type: "
		 "remote}}"},
		{"Environment: {Singularity: {Path: /a.sif}}\n",
		 "unknown key \"Singularity\" below Environment: write Apptainer: {Path: /a.sif}"},
		{"Environment: {DockerImage: a}\n",
		 "unknown key \"DockerImage\" below Environment: write Apptainer: {Path: IMAGE.sif} "
		 "with an image made by `apptainer build`"},
		{"Environment: {Environment: {A: b}}\n",
		 "unknown key \"Environment\" below Environment: write Variables:"},
		{"Resources: {Project: deepacf}\n", "unknown key \"Project\" below Resources: write "
						    "account: deepacf in the run's spec"},
		{"Resources: {CPUs: 3}\n", "unknown key \"CPUs\" below Resources: write TotalCPUs: 3"},
		/* sites */
		{"UnicoreApiUrl: https://a\nSSH: {Hostname: b}\n",
		 "2: both UnicoreApiUrl and SSH: a config names one site"},
		{"UnicoreApiUrl: a\n", "UnicoreApiUrl: \"a\" is not an address that begins with "
				       "https://"},
		{"Firecrest: {ApiUrl: https://a, TokenUrl: https://b}\n",
		 "Firecrest needs the key \"Machine\""},
		{"SSH: {Port: 22}\n", "SSH needs the key \"Hostname\""},
		{"SSH: {Hostname: -oProxyCommand=x}\n",
		 "SSH.Hostname: \"-oProxyCommand=x\" is no host"},
		{"SSH: {Hostname: a, Port: 70000}\n", "SSH.Port: 70000 is over 65535"},
		{"Firecrest: {ApiUrl: https://a, TokenUrl: https://b, Machine: c}\n"
		 "Environment: {PreRunCommandOnLoginNode: a}\n",
		 "2: commands on the login node are not possible with Firecrest: write "
		 "PreRunCommandOnComputeNode"},
		/* Resources */
		{"Resources: {Queue: }\n", "Resources.Queue has no value: write one or leave the line "
					   "out"},
		{"Resources: {Queue: [a]}\n", "Resources.Queue is a list, not a text"},
		{"Resources: {Nodes: 2.7}\n", "Resources.Nodes: \"2.7\" is not a whole number from 1 "
					      "on"},
		{"Resources: {Nodes: two}\n", "Resources.Nodes: \"two\" is not a whole number from 1 "
					      "on"},
		{"Resources: {Nodes: 0}\n", "Resources.Nodes: \"0\" is not a whole number from 1 on"},
		{"Resources: {Runtime: 30}\n", "Resources.Runtime: 30 has no unit, write 30m for "
					       "minutes or 30h for hours"},
		{"Resources: {Runtime: 1h30m}\n",
		 "Resources.Runtime: \"1h30m\" is not one number with one unit, write 90m"},
		{"Resources: {Runtime: 12:00:00}\n",
		 "Resources.Runtime: \"12:00:00\" is not one number with one unit, write 12h"},
		{"Resources: {Runtime: '2-00:00:00'}\n",
		 "Resources.Runtime: \"2-00:00:00\" is not one number with one unit, write 2d"},
		{"Resources: {Runtime: soon}\n", "Resources.Runtime: \"soon\" is not a number with one "
						 "of the units s, m, h, d, such as 30m"},
		{"Resources: {MemoryPerNode: much}\n",
		 "Resources.MemoryPerNode: \"much\" is not a size such as 12GiB"},
		/* Environment */
		{"Environment: {Apptainer: a.sif}\n",
		 "Environment.Apptainer is a text, write Apptainer: {Path: a.sif}"},
		{"Environment: {Apptainer: {Type: local}}\n",
		 "Environment.Apptainer needs the key \"Path\""},
		{"Environment: {Apptainer: {Path: a.sif, Type: docker}}\n",
		 "Environment.Apptainer.Type: \"docker\" is neither local nor remote"},
		{"Environment: {Apptainer: {Path: a.sif, Type: remote}}\n",
		 "Environment.Apptainer.Path: \"a.sif\" is not absolute, as the path of a remote image "
		 "has to be"},
		{"Environment: {Apptainer: {Path: a, Options: '--nv; rm x'}}\n",
		 "Environment.Apptainer.Options: \"--nv; rm x\" is not only options"},
		{"Environment: {Apptainer: {Path: a, Options: ['> x']}}\n",
		 "Environment.Apptainer.Options: \"> x\" is not only options"},
		{"Environment: {Apptainer: {Path: a, Options: ['-B /a /b']}}\n",
		 "Environment.Apptainer.Options: \"-B /a /b\" has a blank where a colon belongs: -B "
		 "/a:/b"},
		{"Environment: {Apptainer: {Path: a}, Python: /b}\n",
		 "Environment has both Apptainer and Python: at most one of them"},
		{"Environment: {Python: venv}\n", "Environment.Python: \"venv\" is not absolute, as the "
						  "folder of a venv has to be"},
		{"Environment: {Python: {Path: source /x/bin/activate;}}\n",
		 "Environment.Python: \"source /x/bin/activate;\" is not the folder of a venv, write "
		 "/x"},
		{"Environment: {Python: /x/bin/activate}\n",
		 "Environment.Python: \"/x/bin/activate\" is not the folder of a venv, write /x"},
		{"Environment: {Modules: [Python/3.9.6;]}\n",
		 "Environment.Modules: the name \"Python/3.9.6;\" holds a ;"},
		{"Environment: {Modules: {a: b}}\n", "Environment.Modules is a map, not a list of "
						     "texts"},
		{"Environment: {Variables: {A: }}\n",
		 "Environment.Variables.A has no value: write '' for an empty one"},
		{"Environment: {Variables: {A-B: 1}}\n",
		 "Environment.Variables: \"A-B\" cannot be the name of a variable"},
		{"Environment: {Variables: {A: '$(x'}}\n", "Environment.Variables.A holds $( without )"},
		{"Environment: {PreRunCommandOnComputeNode: \"echo 'a\"}\n",
		 "Environment.PreRunCommandOnComputeNode: the command holds a ' that is not closed"},
		{"Environment: {PreRunCommandOnComputeNode: ''}\n",
		 "Environment.PreRunCommandOnComputeNode: a command is empty"},
		{"Environment: {PreRunCommand: a}\n",
		 "unknown key \"PreRunCommand\" below Environment: write PreRunCommandOnComputeNode or "
		 "PreRunCommandOnLoginNode"},
		{"Environment: {PreRunCommand: {Command: a}}\n",
		 "Environment.PreRunCommand does not say where it runs: write "
		 "PreRunCommandOnComputeNode or PreRunCommandOnLoginNode"},
		{"Environment:\n  PreRunCommandOnComputeNode: b\n"
		 "  PreRunCommand: {Command: a, ExecuteOnLoginNode: no}\n",
		 "3: both PreRunCommand and PreRunCommandOnComputeNode"},
		{"Exclude: ['']\n", "Exclude: a pattern is empty"},
		{"- a\n", "not a backend config, which is a map with Resources: and Environment:"},
	};
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	for (size_t i = 0; i < N(cases); i++) {
		_cleanup_backend_ struct mk_backend b = {};
		_cleanup_buf_ struct mk_buf want = MK_BUF(1000);
		const char *error = cases[i].error;

		/* line 1 unless it says so */
		(void)mk_buf_printf(&want, "c.yaml:%s%s", *error >= '1' && *error <= '9' ? "" : "1: ",
				    error);
		CHECK_INT(parse(&call, cases[i].text, &b), -EINVAL);
		CHECK_TEXT(call.error.text, mk_buf_text(&want));
	}
}

static void notes_what_is_doubtful(void)
{
	static const struct {
		const char *text, *note;
	} cases[] = {
		{"Exclude: [figures]\n", "Exclude: \"figures\" leaves out files of that name; the "
					 "folder is written \"figures/\""},
		{"Exclude: ['*']\n", "Exclude: \"*\" leaves out every file"},
		{"Exclude: [a/*.png]\n", "Exclude: \"a/*.png\" leaves out nothing: patterns are for "
					 "file names, a folder is written \"a/\""},
		{"Environment: {PreRunCommand: {Command: a, ExecuteOnLoginNode: False}}\n",
		 "Environment.PreRunCommand is an old spelling, read as PreRunCommandOnComputeNode"},
		{"Environment: {PostRunCommand: {Command: a, ExecuteOnLoginNode: true}}\n",
		 "Environment.PostRunCommand is an old spelling, read as PostRunCommandOnLoginNode"},
		{"Environment: {PreRunCommandOnComputeNode: source/x/activate}\n",
		 "PreRunCommandOnComputeNode: a blank is missing after \"source\" in "
		 "\"source/x/activate\""},
		{"Environment: {PreRunCommandOnComputeNode: module load p/2021GCC/11.2}\n",
		 "PreRunCommandOnComputeNode: \"p/2021GCC/11.2\" looks like two modules without a "
		 "blank between them"},
	};
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	for (size_t i = 0; i < N(cases); i++) {
		_cleanup_backend_ struct mk_backend b = {};
		_cleanup_buf_ struct mk_buf want = MK_BUF(1000);

		(void)mk_buf_printf(&want, "c.yaml:1: %s", cases[i].note);
		CHECK_INT(parse(&call, cases[i].text, &b), 0);
		CHECK_INT(b.notes.n, 1);
		CHECK_TEXT(b.notes.n ? b.notes.v[0] : NULL, mk_buf_text(&want));
	}

	_cleanup_backend_ struct mk_backend b = {};

	CHECK_INT(parse(&call, "Environment:\n  PreRunCommandOnComputeNode: >\n    conda activate\n"
			       "    module load a; module load b && export C=d\n", &b), 0);
	CHECK_INT(b.notes.n, 1);
	CHECK_TEXT(b.notes.n ? b.notes.v[0] : NULL,
		   "c.yaml:2: PreRunCommandOnComputeNode: \"module\" stands in the middle of a "
		   "command; a folded block (>) is one line: write ; or && between commands, or use |");
}

static bool has_nothing(const char *program)
{
	return false;
}

static bool has_all(const char *program)
{
	return true;
}

static void local_says_what_it_does_not_use(void)
{
	_cleanup_call_ struct mk_call call;
	_cleanup_backend_ struct mk_backend b = {}, own = {};

	mk_call_init(&call);
	CHECK_INT(parse(&call, "UnicoreApiUrl: https://s\nResources: {Queue: q, Nodes: 2, Runtime: "
			       "1h, GPUsPerNode: 3, QoS: x}\n", &b), 0);
	CHECK_INT(mk_backend_localize(&call, "c.yaml", &b), 0);
	NEED(b.notes.n == 2);
	CHECK_TEXT(b.notes.v[0], "c.yaml: is for https://s; this run is computed on local");
	CHECK_TEXT(b.notes.v[1],
		   "c.yaml: local does not use Resources: Queue q, Nodes 2, GPUsPerNode 3, QoS x");
	CHECK_TEXT(b.queue, NULL);
	CHECK_INT(b.runtime, 3600);

	CHECK_INT(parse(&call, "Resources: {Queue: q, Nodes: 1}\n", &own), 0);
	CHECK_INT(mk_backend_localize(&call, "c.yaml", &own), 0);
	CHECK_INT(own.notes.n, 0);
	CHECK_TEXT(own.queue, "q");
}

static void a_missing_apptainer_is_refused(void)
{
	_cleanup_call_ struct mk_call call;
	_cleanup_backend_ struct mk_backend b = {}, modules = {};

	mk_call_init(&call);
	CHECK_INT(parse(&call, "Environment: {Apptainer: {Path: a.sif}}\n", &b), 0);
	CHECK_INT(mk_backend_check_local(&call, "c.yaml", &b, has_all), 0);
	CHECK_INT(mk_backend_check_local(&call, "c.yaml", &b, has_nothing), -ENOENT);
	CHECK_TEXT(call.error.text,
		   "c.yaml: the image a.sif needs the program apptainer, which this machine does not "
		   "have: install the package apptainer, or run without it by override: {Environment: "
		   "{Apptainer: null}}");
	CHECK_INT(parse(&call, "Environment: {Apptainer: {Path: a.sif}, Modules: Apptainer}\n",
			&modules), 0);
	CHECK_INT(mk_backend_check_local(&call, "c.yaml", &modules, has_nothing), 0);
}

/* --- scripts ---------------------------------------------------------------------------- */

static char *script(struct mk_call *call, const char *config, const char *command)
{
	_cleanup_backend_ struct mk_backend b = {};
	_cleanup_buf_ struct mk_buf out = MK_BUF(MK_LIMIT_TEXT);
	_cleanup_free_ char *text = NULL;
	struct mk_script s = {.title = "t", .command = command, .backend = &b};

	CHECK_INT(parse(call, config, &b), 0);
	CHECK_TEXT(call->error.text, NULL);
	CHECK_INT(mk_environment_choose(call, NULL, &b, &s.environment, &text), 0);
	CHECK_INT(mk_script_write(call, &s, &out), 0);
	return mk_buf_steal(&out);
}

/* Runs a script with bash in a directory of its own: its output and exit code. */
static int run(const char *text, const char *dir, struct mk_buf *out)
{
	static const char *const argv[] = {"sh", "-c", "exec bash job 2>&1", NULL};
	_cleanup_free_ char *path = tmpdir_path(dir, "job");
	_cleanup_buf_ struct mk_buf search = MK_BUF(4096);
	_cleanup_call_ struct mk_call call;
	int status = -1;

	mk_call_init(&call);
	call.deadline = mk_now_mono() + 60 * MK_SEC;
	(void)mk_buf_printf(&search, "PATH=%s:/usr/bin:/bin", dir);

	const char *const env[] = {mk_buf_text(&search), "LMOD_PKG=", NULL};
	const struct mk_exec exec = {.remote = "disk:test", .argv = argv, .env = env, .dir = dir,
				     .out = out, .ret_status = &status};

	if (!tmpdir_write(path, text, strlen(text)) || mk_exec_run(&call, &exec) < 0)
		printf("# %s\n", call.error.text ? call.error.text : "job not written");
	return status;
}

static void scripts_run_in_order(void)
{
	static const struct {
		const char *config, *command, *output;
		int code;
	} cases[] = {
		{"", "echo a", "a\n", 0},
		{"", "exit 3", "", 3},
		{"", "(exit 4)", "", 4},
		{"", "echo a\necho b", "a\nb\n", 0},
		{"Environment: {Variables: {A: 'x $(echo y) \"z\"', B: '$A', C: \"it's\", D: ''}}\n",
		 "echo \"$A|$B|$C|$D|\"", "x y \"z\"|x y \"z\"|it's||\n", 0},
		{"Environment: {PreRunCommandOnComputeNode: [export A=1, echo pre], "
		 "PostRunCommandOnComputeNode: 'echo post $A'}\n", "echo main $A",
		 "pre\nmain 1\npost 1\n", 0},
		{"Environment: {PreRunCommandOnLoginNode: 'A=1; cd /; echo login', "
		 "PostRunCommandOnLoginNode: [echo x, echo y]}\n", "ls job; echo \"$A.\"",
		 "login\njob\n.\nx\ny\n", 0},
		{"Environment: {PreRunCommandOnComputeNode: ['echo a', '(exit 5)', 'echo b']}\n",
		 "echo main",
		 "a\nmantik: PreRunCommandOnComputeNode: exit code 5, the command was not started\n",
		 5},
		{"Environment: {PostRunCommandOnComputeNode: echo post}\n", "(exit 6)", "", 6},
		{"Environment: {PostRunCommandOnComputeNode: ['(exit 7)', echo post]}\n", "true", "",
		 7},
		{"Environment: {Python: /no/venv}\n", "echo main", NULL, 1},
		{"Environment: {Apptainer: {Path: 'i $X.sif', Options: [-B a:b, --nv]}, Variables: "
		 "{X: y}}\n", "echo 'a b' | cat",
		 "run|-B|a:b|--nv|i y.sif|echo|a b|\n", 0},
		{"Environment: {Apptainer: {Path: 'docker://x:1'}}\n", "echo",
		 "run|docker://x:1|echo|\n", 0},
		{"Environment: {Apptainer: {Path: absent.sif}}\n", "echo", NULL, 1},
	};
	_cleanup_call_ struct mk_call call;
	char *dir = tmpdir_make();
	_cleanup_free_ char *stub = tmpdir_path(dir, "apptainer");
	_cleanup_free_ char *image = tmpdir_path(dir, "i y.sif");
	FILE *file = fopen(stub, "w");

	mk_call_init(&call);
	/* a recording stub, not the real program */
	NEED(file && fputs("#!/bin/sh\nprintf '%s|' \"$@\"\necho\n", file) >= 0 &&
	     fclose(file) == 0 && chmod(stub, 0700) == 0);
	NEED(tmpdir_write(image, "", 0));
	for (size_t i = 0; i < N(cases); i++) {
		_cleanup_free_ char *text = script(&call, cases[i].config, cases[i].command);
		_cleanup_buf_ struct mk_buf out = MK_BUF(MK_LIMIT_TEXT);

		CHECK_INT(run(text, dir, &out), cases[i].code);
		if (cases[i].output)
			CHECK_TEXT(mk_buf_text(&out), cases[i].output);
		else
			CHECK(strstr(mk_buf_text(&out), "the command was not started"));
	}
	tmpdir_remove(dir);
}

static void scripts_are_readable(void)
{
	static const char want[] =
		"#!/bin/bash\n"
		"# t\n"
		"# Runs in the directory of the MLproject.\n"
		"\n"
		"# Environment.Variables\n"
		"export A=1\n"
		"\n"
		"# The command\n"
		"python train.py\n"
		"mantik_status=$?\n"
		"\n"
		"exit \"$mantik_status\"\n";
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);

	_cleanup_free_ char *text =
		script(&call, "Environment: {Variables: {A: 1}}\n", "python train.py");

	CHECK_TEXT(text, want);
}

static void a_missing_module_stops_the_job(void)
{
	_cleanup_call_ struct mk_call call;
	char *dir = tmpdir_make();
	_cleanup_buf_ struct mk_buf out = MK_BUF(MK_LIMIT_TEXT);

	mk_call_init(&call);

	_cleanup_free_ char *text =
		script(&call, "Environment: {Modules: [no-such-module/1]}\n", "echo main");

	CHECK(run(text, dir, &out) > 0);
	CHECK(strstr(mk_buf_text(&out), "the command was not started"));
	CHECK(!strstr(mk_buf_text(&out), "\nmain"));
	tmpdir_remove(dir);
}

static void modules_are_loaded(void)
{
	static const char module[] = "#%Module1.0\nsetenv HELLO world\n";
	_cleanup_call_ struct mk_call call;
	_cleanup_(tmpdir_removep) char *dir = tmpdir_make();
	_cleanup_free_ char *folder = tmpdir_path(dir, "hello");
	_cleanup_free_ char *file = tmpdir_path(folder, "1.0");
	_cleanup_buf_ struct mk_buf config = MK_BUF(4096), out = MK_BUF(MK_LIMIT_TEXT);

	if (access("/usr/share/lmod/lmod/init/bash", R_OK) != 0)
		SKIP("lmod is not installed");
	/* lmod passes over what others may not read */
	NEED(chmod(dir, 0755) == 0 && mkdir(folder, 0755) == 0 &&
	     tmpdir_write(file, module, strlen(module)) && chmod(file, 0644) == 0);
	mk_call_init(&call);
	(void)mk_buf_printf(&config, "Environment: {Modules: hello/1.0, Variables: {MODULEPATH: %s}, "
			    "PreRunCommandOnComputeNode: 'echo $HELLO $MODULEPATH', Python: /no}\n", dir);

	_cleanup_free_ char *text = script(&call, mk_buf_text(&config), "echo main");

	CHECK(run(text, dir, &out) > 0);
	CHECK(strncmp(mk_buf_text(&out), "world ", 6) == 0);
	/* and the machine's own stay known */
	if (access("/etc/profile.d/lmod.sh", R_OK) == 0)
		CHECK(strstr(mk_buf_text(&out), ":/usr/share/lmod/"));
	if (test_bad)
		printf("# %s\n", mk_buf_text(&out));
}

static void environments_are_chosen(void)
{
	static const struct {
		const char *project, *config;
		enum mk_environment environment;
		const char *text; /* or the error */
	} cases[] = {
		{"{}", "", MK_ENV_SYSTEM, "system"},
		{"python_env: p.yaml", "", MK_ENV_PYTHON_ENV, "p.yaml"},
		{"conda_env: c.yaml", "", MK_ENV_CONDA_ENV, "c.yaml"},
		{"python_env: p.yaml", "Environment: {Python: /v}", MK_ENV_VENV, "venv /v"},
		{"docker_env: {image: d}", "Environment: {Apptainer: {Path: a.sif}}",
		 MK_ENV_APPTAINER, "apptainer a.sif"},
		{"docker_env: {image: d:1}", "Environment: {Python: /v}", -1,
		 "MLproject:1: docker_env: the image d:1 would need Docker, which runs are not "
		 "computed with: give an Apptainer image in the backend config (Environment: "
		 "{Apptainer: {Path: …}})"},
	};
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	for (size_t i = 0; i < N(cases); i++) {
		_cleanup_mlproject_ struct mk_mlproject project = {};
		_cleanup_backend_ struct mk_backend b = {};
		_cleanup_free_ char *text = NULL;
		enum mk_environment environment = -1;

		CHECK_INT(mk_mlproject_parse(&call, "MLproject", cases[i].project,
					     strlen(cases[i].project), &project), 0);
		CHECK_INT(parse(&call, cases[i].config, &b), 0);
		(void)!mk_environment_choose(&call, &project, &b, &environment, &text);
		CHECK_INT(environment, cases[i].environment);
		CHECK_TEXT(text ? text : call.error.text, cases[i].text);
	}
}

/* --- plans ------------------------------------------------------------------------------ */

static void plans_read_back(void)
{
	_cleanup_call_ struct mk_call call;
	_cleanup_(mk_plan_free) struct mk_plan plan = {.repository_id = 7, .runtime = 60,
						       .directory = mk_strdup(""),
						       .script = mk_strdup("#!/bin/sh\n\"x\"\n"),
						       .queue = mk_strdup("größe")};
	_cleanup_(mk_plan_free) struct mk_plan got = {};
	_cleanup_buf_ struct mk_buf out = MK_BUF(MK_LIMIT_TEXT), again = MK_BUF(MK_LIMIT_TEXT);

	mk_call_init(&call);
	CHECK_INT(mk_pairs_set(&plan.variables, "B", "2"), 0);
	CHECK_INT(mk_pairs_set(&plan.variables, "A", "1"), 0);
	CHECK_INT(mk_list_add(&plan.exclude, "*.sif"), 0);
	CHECK_INT(mk_plan_write(&call, &plan, &out), 0);
	CHECK_INT(mk_plan_read(&call, mk_buf_text(&out), &got), 0);
	CHECK_INT(mk_plan_write(&call, &got, &again), 0);
	CHECK_TEXT(mk_buf_text(&again), mk_buf_text(&out));
	CHECK_TEXT(got.commit, NULL);
	CHECK_TEXT(got.directory, "");
	CHECK_TEXT(got.queue, "größe");
	CHECK_INT(got.variables.n, 2);
	CHECK_TEXT(got.variables.v[0].key, "B");
}

static void damaged_plans_are_refused(void)
{
	static const char *const texts[] = {"", "[]", "{}", "{\"script\": 1}", "{\"script\": \"x\"}"};
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	for (size_t i = 0; i < N(texts); i++) {
		_cleanup_(mk_plan_free) struct mk_plan plan = {};

		CHECK_INT(mk_plan_read(&call, texts[i], &plan), -EINVAL);
		CHECK(strncmp(call.error.text, "not a plan: ", 12) == 0);
	}

	_cleanup_(mk_plan_free) struct mk_plan plan = {.script = mk_strdup("\xff")};
	_cleanup_buf_ struct mk_buf out = MK_BUF(MK_LIMIT_TEXT);

	CHECK_INT(mk_plan_write(&call, &plan, &out), -EINVAL);
}

int main(void)
{
	return RUN(TEST(reads_every_key), TEST(accepts_what_says_little),
		   TEST(refuses_with_the_right_spelling), TEST(notes_what_is_doubtful),
		   TEST(local_says_what_it_does_not_use), TEST(a_missing_apptainer_is_refused),
		   TEST(scripts_run_in_order), TEST(scripts_are_readable),
		   TEST(a_missing_module_stops_the_job), TEST(modules_are_loaded), TEST(environments_are_chosen),
		   TEST(plans_read_back), TEST(damaged_plans_are_refused));
}
