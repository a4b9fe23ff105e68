/* Start-up code for a Cortex-M in QEMU: vectors, memory, and semihosting instead of devices. */
#include <stdint.h>

extern uint32_t data_source[], data_start[], data_end[], bss_start[], bss_end[], stack_top[];
int main(void);
int semihost(int operation, const void *argument);
void reset(void);
void fault(void);

__attribute__((naked, noinline)) int semihost(int operation, const void *argument) {
    (void)operation, (void)argument;
    __asm volatile("bkpt 0xab\n bx lr");
}

static void leave(uint32_t status) {
    const uint32_t reason[2] = {0x20026, status}; /* ADP_Stopped_ApplicationExit */
    for (;;) semihost(0x20, reason);              /* SYS_EXIT_EXTENDED */
}

void fault(void) {
    leave(99);
}

__attribute__((section(".vectors"), used)) static void *const vectors[16] = {
    stack_top, (void *)reset, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault,
    (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault,
};

void reset(void) {
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* CPACR: the compiler may use vector registers */
    __asm volatile("dsb\n isb");
#endif
    for (volatile uint32_t *from = data_source, *to = data_start; to < data_end;) *to++ = *from++;
    for (volatile uint32_t *to = bss_start; to < bss_end;) *to++ = 0;
    leave((uint32_t)main());
}
