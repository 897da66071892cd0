/* SPDX-License-Identifier: Apache-2.0 */
/* Loads each program alone, with no capability but the agent's three, and prints what the verifier said. */
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "capture.h"

/* Loads one program alone; prints `program NAME loaded INSTRUCTIONS STATES MS` or `program NAME refused ERRNO REASON`. */
static void verify(const char *path, const char *name)
{
	struct bpf_object *object = open_object(path, 4);
	struct bpf_program *program;
	unsigned int instructions = 0, states = 0;
	double started;
	const char *found;
	int error;

	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program, !strcmp(bpf_program__name(program), name));
	started = milliseconds();
	error = bpf_object__load(object);
	started = milliseconds() - started;
	bpf_object__close(object);
	if (!error) {
		found = strstr(verifier_said(), "processed ");
		if (found)
			sscanf(found, "processed %u insns (limit %*u) max_states_per_insn %*u total_states %u", &instructions, &states);
		printf("program %s loaded %u %u %.1f\n", name, instructions, states, started);
		return;
	}
	/* once more, to hear why */
	object = open_object(path, 1);
	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program, !strcmp(bpf_program__name(program), name));
	bpf_object__load(object);
	bpf_object__close(object);
	printf("program %s refused %d %s\n", name, -error, last_words());
}

/* Leaves what an agent has that is not privileged; kernels before 5.11 charge maps to RLIMIT_MEMLOCK. */
static void drop_privileges(void)
{
	const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {};
	const int kept[] = { CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF };

	for (int i = 0; i < 3; i++) {
		data[kept[i] / 32].effective |= 1u << kept[i] % 32;
		data[kept[i] / 32].permitted |= 1u << kept[i] % 32;
	}
	setrlimit(RLIMIT_MEMLOCK, &unlimited); /* where that is refused and matters, the maps tell */
	if (syscall(SYS_capset, &header, data))
		fail("drop capabilities");
}

void verify_all(const char *path)
{
	struct bpf_object *object = open_object(path, 0);
	struct bpf_program *program;

	drop_privileges();
	bpf_object__for_each_program(program, object)
		verify(path, bpf_program__name(program));
	bpf_object__close(object);
}
