/* SPDX-License-Identifier: Apache-2.0 */
/* Opens and loads a BPF object, as the agent would for the devices that are given. */
#include <stdio.h>
#include <string.h>

#include "capture.h"

static char verifier_log[0xffffff];

struct bpf_object *open_object(const char *path, unsigned int log_level)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .kernel_log_buf = verifier_log, .kernel_log_size = sizeof(verifier_log),
		    .kernel_log_level = log_level);
	struct bpf_object *object = bpf_object__open_file(path, &options);
	const char *big[] = { "views4", "views6" };

	verifier_log[0] = 0;
	if (!object)
		fail("open %s", path);
	for (int i = 0; i < 2; i++)
		bpf_map__set_max_entries(bpf_object__find_map_by_name(object, big[i]), 1024);
	bpf_map__set_max_entries(bpf_object__find_map_by_name(object, "events"), 1024 * 1024);
	return object;
}

/* All of it since the last object was opened; empty when nothing was loaded. */
const char *verifier_said(void)
{
	return verifier_log;
}

/* The verifier's reason: the last line before its statistics. */
const char *last_words(void)
{
	char *found = strstr(verifier_log, "\nprocessed ");

	if (found)
		*found = 0;
	found = strrchr(verifier_log, '\n');
	return found ? found + 1 : verifier_log;
}

/* What the agent would load for these devices: with conntrack where the kernel takes it. */
struct bpf_object *load(const char *path, struct device *devices, int count, bool conntrack)
{
	struct bpf_object *object = open_object(path, 0);
	struct bpf_program *program;
	bool missing = false;
	char name[64];

	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program, false);
	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%s_ingress", devices[i].role);
		bpf_program__set_autoload(bpf_object__find_program_by_name(object, name), true);
		snprintf(name, sizeof(name), "%s_egress%s", devices[i].role, conntrack ? "_ct" : "");
		program = bpf_object__find_program_by_name(object, name);
		if (program)
			bpf_program__set_autoload(program, true);
		else
			missing = true;
	}
	if (missing || bpf_object__load(object)) {
		bpf_object__close(object);
		if (!conntrack)
			fail("load %s: %s", path, last_words());
		return load(path, devices, count, false);
	}
	printf("conntrack %d\n", conntrack);
	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%s_ingress", devices[i].role);
		devices[i].programs[0] = bpf_program__fd(bpf_object__find_program_by_name(object, name));
		snprintf(name, sizeof(name), "%s_egress%s", devices[i].role, conntrack ? "_ct" : "");
		devices[i].programs[1] = bpf_program__fd(bpf_object__find_program_by_name(object, name));
	}
	return object;
}
