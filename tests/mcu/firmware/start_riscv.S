# Start-up code for QEMU's RISC-V board "virt", loaded into RAM, with semihosting.
    .section .init, "ax"
    .global _start
_start:
    .option push
    .option norelax
    la gp, __global_pointer$
    .option pop
    la sp, stack_top
    la t0, bss_start
    la t1, bss_end
clear:
    bgeu t0, t1, run
    sw zero, 0(t0)
    addi t0, t0, 4
    j clear
run:
    call main
    addi sp, sp, -16
    li t0, 0x20026          # ADP_Stopped_ApplicationExit
    sw t0, 0(sp)
    sw a0, 4(sp)
    mv a1, sp
    li a0, 0x20             # SYS_EXIT_EXTENDED
    call semihost
forever:
    j forever

    .option norvc           # the three instructions that QEMU recognizes are long and on one page
    .section .text.semihost, "ax"
    .balign 16
    .global semihost
semihost:
    slli x0, x0, 0x1f
    ebreak
    srai x0, x0, 7
    ret
