/* A QEMU plugin that counts the guest's instructions, and notes the count at the marks that the guest sets.
 *
 *     gcc -O2 -shared -fPIC -o icount.so icount.c
 *     qemu-aarch64 -plugin icount.so,out=FILE ...
 *
 * A mark is the system call getpriority(MARK, number), which fails and changes nothing. FILE gets a line for each,
 * "number count", and at the end "end count". On an emulated board, which has no system calls, it is that the guest
 * reaches an address, such as that of an empty function: -plugin icount.so,out=FILE,mark=0x1234; its number is 0.
 *
 * The declarations follow qemu-plugin.h and stand here because Debian's qemu-user comes without it. Version 1 of that
 * interface (QEMU 4.2 to 8.2) adds to a variable of ours; version 2 (QEMU 9.0) replaced that by scoreboards, one entry a
 * thread. Both are declared weak and the plugin takes what the QEMU that loads it has. It ran in QEMU 7.2; for newer ones
 * it was written by the header of QEMU 10.2, whose callbacks are those of version 1.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define MARK 0x51ed
#define GETPRIORITY_AARCH64 141
#define GETPRIORITY_ARM 96
#define INLINE_ADD_U64 0
#define WEAK __attribute__((weak))

typedef uint64_t plugin_id;
struct instruction;
struct block; /* a translation block: instructions that run one after the other, the last may jump */
struct scoreboard;
struct entry { /* a uint64_t in each thread's part of a scoreboard */
    struct scoreboard *score;
    size_t offset;
};
struct info {
    const char *target;
    struct { int min, cur; } version;
    bool system_emulation;
    union { struct { int smp_vcpus, max_vcpus; } system; } counts;
};
typedef void on_block(plugin_id, struct block *);
typedef void on_syscall(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                        uint64_t);
typedef void on_exit_of_guest(plugin_id, void *);
typedef void on_instruction(unsigned, void *);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, on_block *);
WEAK void qemu_plugin_register_vcpu_tb_exec_inline(struct block *, int, void *, uint64_t);
WEAK void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct block *, int, struct entry, uint64_t);
WEAK struct scoreboard *qemu_plugin_scoreboard_new(size_t);
WEAK uint64_t qemu_plugin_u64_sum(struct entry);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, on_syscall *);
void qemu_plugin_register_atexit_cb(plugin_id, on_exit_of_guest *, void *);
size_t qemu_plugin_tb_n_insns(const struct block *);
struct instruction *qemu_plugin_tb_get_insn(const struct block *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct instruction *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct instruction *, on_instruction *, int, void *);

EXPORT int qemu_plugin_version = 1;
static uint64_t one_count;
static struct entry counts; /* its scoreboard is NULL in version 1 */
static int64_t getpriority_number;
static uint64_t mark_address = UINT64_MAX;
static FILE *out;

/* Runs as the plugin is loaded, before QEMU looks at the version. */
__attribute__((constructor)) static void choose(void) {
    if (qemu_plugin_scoreboard_new) qemu_plugin_version = 2;
}

static uint64_t count(void) {
    return counts.score ? qemu_plugin_u64_sum(counts) : one_count;
}

static void reached(unsigned cpu, void *unused) {
    (void)cpu, (void)unused;
    fprintf(out, "0 %" PRIu64 "\n", count());
}

/* Added up in the generated code itself, each time the block runs. */
static void translated(plugin_id id, struct block *block) {
    uint64_t instructions = qemu_plugin_tb_n_insns(block);
    (void)id;
    if (counts.score) qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(block, INLINE_ADD_U64, counts, instructions);
    else qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD_U64, &one_count, instructions);
    for (size_t i = 0; mark_address != UINT64_MAX && i < instructions; i++) {
        struct instruction *each = qemu_plugin_tb_get_insn(block, i);
        if (qemu_plugin_insn_vaddr(each) == mark_address)
            qemu_plugin_register_vcpu_insn_exec_cb(each, reached, 0, NULL);
    }
}

static void called(plugin_id id, unsigned cpu, int64_t number, uint64_t which, uint64_t who, uint64_t a, uint64_t b, uint64_t c,
                   uint64_t d, uint64_t e, uint64_t f) {
    (void)id, (void)cpu, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f;
    if (number == getpriority_number && (uint32_t)which == MARK) fprintf(out, "%" PRIu64 " %" PRIu64 "\n", who, count());
}

static void ended(plugin_id id, void *unused) {
    (void)id, (void)unused;
    fprintf(out, "end %" PRIu64 "\n", count());
    fclose(out);
}

EXPORT int qemu_plugin_install(plugin_id id, const struct info *info, int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "out=", 4)) out = fopen(argv[i] + 4, "w");
        if (!strncmp(argv[i], "mark=", 5)) mark_address = strtoull(argv[i] + 5, NULL, 0) & ~1ull; /* without Thumb's bit */
    }
    if (!out || info->system_emulation != (mark_address != UINT64_MAX)) return 1;
    if (qemu_plugin_scoreboard_new) counts.score = qemu_plugin_scoreboard_new(sizeof(uint64_t));
    getpriority_number = strncmp(info->target, "aarch64", 7) ? GETPRIORITY_ARM : GETPRIORITY_AARCH64;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    if (!info->system_emulation) qemu_plugin_register_vcpu_syscall_cb(id, called);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
