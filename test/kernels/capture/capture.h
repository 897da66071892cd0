/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of capture: what they share, and what each gives to main.c. Whatever fails ends the process with its line. */
#ifndef CAPTURE_H
#define CAPTURE_H

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdbool.h>

#include "../../../bpf/flow.h"

/* This kernel does not attach in that way. */
#define UNSUPPORTED 3

struct device {
	const char *name, *role, *peer;
	int ifindex;
	int programs[2]; /* file descriptors, by ingress and egress */
	int ways[2]; /* where a frame is put to pass there */
};

/* fail.c */
void fail(const char *format, ...);
double milliseconds(void);

/* object.c */
struct bpf_object *open_object(const char *path, unsigned int log_level);
const char *verifier_said(void);
const char *last_words(void);
struct bpf_object *load(const char *path, struct device *devices, int count, bool conntrack);

/* verify.c */
void verify_all(const char *path);

/* device.c */
void prepare(struct device *device);
void attach(struct device *device, bool tcx, int hooks);
void detach(struct device *devices, int count, bool tcx);

/* play.c */
void play(const char *path, struct device *devices);

/* dump.c */
void dump(struct bpf_object *object);

#endif
