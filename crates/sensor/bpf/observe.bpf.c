/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What the sensor runs in the kernel. It only looks: no program here changes a packet, a system call or a process.
 * Each program stands alone; one that a kernel refuses is left out and named as a loss of sight.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_endian.h>
#include "record.h"
#include "process.h"
#include "network.h"
#include "calls.h"

/* The kernel asks for the words "Dual BSD/GPL" to lend its GPL helpers. */
char LICENSE[] SEC("license") = "Dual BSD/GPL";
