/* SPDX-License-Identifier: Apache-2.0 */
/* switch: see switch.h. System V ABI: rbx, rbp, r12-r15, mxcsr and the x87 control word survive a
 * call. Leaves by a jump, not by ret: the return stack of the branch predictor would be wrong. */
    .text
    .globl fiber_switch
    .hidden fiber_switch
    .type fiber_switch, @function
    .p2align 4
fiber_switch:
    .cfi_startproc
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    subq $8, %rsp
    stmxcsr (%rsp)
    fnstcw 4(%rsp)
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    ldmxcsr (%rsp)
    fldcw 4(%rsp)
    addq $8, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    popq %rcx
    jmpq *%rcx
    .cfi_endproc
    .size fiber_switch, .-fiber_switch

    .globl fiber_entry
    .hidden fiber_entry
    .type fiber_entry, @function
    .p2align 4
fiber_entry:
    .cfi_startproc
    .cfi_undefined rip
    callq fiber_main
    ud2
    .cfi_endproc
    .size fiber_entry, .-fiber_entry

    .section .note.GNU-stack, "", @progbits
