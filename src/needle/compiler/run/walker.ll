; The native loop that every thread runs. Python puts numbers for names like MAIL.STATE (walker.py)
; and appends the functions that differ between platforms: clock, pause, give, can_sleep, sleep_on,
; wake_on.

; The mailbox of thread t.
define internal ptr @mailbox(ptr %control, i64 %t) alwaysinline {
  %line = add i64 %t, 3
  %word = mul i64 %line, 16
  %box = getelementptr i64, ptr %control, i64 %word
  ret ptr %box
}

; Arrive at the barrier; the last of n threads opens it and gets true. If the first has waited there
; for more than %patience ticks, the others' cores are taken: all but the caller leave the program.
define internal i1 @arrive(ptr %control, i64 %n, i64 %patience) noinline {
entry:
  %arrived = getelementptr i64, ptr %control, i64 CONTROL.ARRIVED
  %since.at = getelementptr i64, ptr %control, i64 CONTROL.SINCE
  %phase = getelementptr i64, ptr %control, i64 CONTROL.PHASE
  %before = load atomic i64, ptr %phase monotonic, align 8
  %others = atomicrmw add ptr %arrived, i64 1 acq_rel
  %tick = call i64 @clock()
  %first = icmp eq i64 %others, 0
  br i1 %first, label %mark, label %check
mark:
  store atomic i64 %tick, ptr %since.at monotonic, align 8
  br label %check
check:
  %most = sub i64 %n, 1
  %last = icmp eq i64 %others, %most
  br i1 %last, label %measure, label %out
measure:
  %since = load atomic i64, ptr %since.at monotonic, align 8
  store atomic i64 %tick, ptr %since.at monotonic, align 8
  %spent = sub i64 %tick, %since
  %slow = icmp sgt i64 %spent, %patience
  br i1 %slow, label %dismiss, label %open
dismiss:
  %t = phi i64 [0, %measure], [%t.next, %dismiss]
  %box = call ptr @mailbox(ptr %control, i64 %t)
  %leave.at = getelementptr i64, ptr %box, i64 MAIL.LEAVE
  store atomic i64 1, ptr %leave.at monotonic, align 8
  %t.next = add i64 %t, 1
  %over = icmp eq i64 %t.next, %n
  br i1 %over, label %open, label %dismiss
open:
  store atomic i64 0, ptr %arrived monotonic, align 8
  %next = add i64 %before, 1
  store atomic i64 %next, ptr %phase release, align 8
  br label %out
out:
  ret i1 %last
}

; Wait until all n threads are here: spin, then give the core away; never sleep.
define internal void @barrier(ptr %control, i64 %n, ptr %box, i64 %patience) noinline {
entry:
  %phase = getelementptr i64, ptr %control, i64 CONTROL.PHASE
  %before = load atomic i64, ptr %phase monotonic, align 8
  %last = call i1 @arrive(ptr %control, i64 %n, i64 %patience)
  br i1 %last, label %out, label %wait
wait:
  %limit.at = getelementptr i64, ptr %control, i64 CONTROL.BARRIER_SPIN
  %limit = load i64, ptr %limit.at
  %start = call i64 @clock()
  br label %spin
spin:
  %now = load atomic i64, ptr %phase acquire, align 8
  %through = icmp ne i64 %now, %before
  br i1 %through, label %done, label %pause
pause:
  call void @pause()
  %tick = call i64 @clock()
  %spent = sub i64 %tick, %start
  %long = icmp uge i64 %spent, %limit
  br i1 %long, label %give, label %spin
give:
  call void @give()
  br label %spin
done:
  %end = call i64 @clock()
  %ticks = sub i64 %end, %start
  %waited.at = getelementptr i64, ptr %box, i64 MAIL.WAITED
  %waited = load i64, ptr %waited.at
  %sum = add i64 %waited, %ticks
  store i64 %sum, ptr %waited.at
  br label %out
out:
  ret void
}

; Thread t of n walks the steps of a program.
define internal void @walk(ptr %control, ptr %program, i64 %t, i64 %threads) noinline {
entry:
  %box = call ptr @mailbox(ptr %control, i64 %t)
  %scratch.at = getelementptr i64, ptr %box, i64 MAIL.SCRATCH
  %scratch = load ptr, ptr %scratch.at
  %steps.at = getelementptr i64, ptr %program, i64 PROGRAM.STEPS
  %steps = load ptr, ptr %steps.at
  %count.at = getelementptr i64, ptr %program, i64 PROGRAM.STEP_COUNT
  %count = load i64, ptr %count.at
  %pointers.at = getelementptr i64, ptr %program, i64 PROGRAM.POINTERS
  %pointers = load ptr, ptr %pointers.at
  %status.at = getelementptr i64, ptr %program, i64 PROGRAM.STATUS
  %status = load ptr, ptr %status.at
  %times.at = getelementptr i64, ptr %program, i64 PROGRAM.TIMES
  %times = load ptr, ptr %times.at
  %best.at = getelementptr i64, ptr %program, i64 PROGRAM.BEST
  %best = load i64, ptr %best.at
  %leave.at = getelementptr i64, ptr %box, i64 MAIL.LEAVE
  %timed = icmp ne ptr %times, null
  %first = icmp eq i64 %t, 0
  %stamps = and i1 %timed, %first
  %none = icmp eq i64 %count, 0
  br i1 %none, label %finish, label %step
step:
  %i = phi i64 [0, %entry], [%i.next, %next]
  %before = phi i64 [%threads, %entry], [%n, %next]
  %at = mul i64 %i, 4
  %kernel.at = getelementptr i64, ptr %steps, i64 %at
  %kernel = load ptr, ptr %kernel.at
  %offset.at = getelementptr i64, ptr %kernel.at, i64 1
  %offset = load i64, ptr %offset.at
  %blocks.at = getelementptr i64, ptr %kernel.at, i64 2
  %blocks = load i64, ptr %blocks.at
  %flags.at = getelementptr i64, ptr %kernel.at, i64 3
  %flags = load i64, ptr %flags.at
  %table = getelementptr i8, ptr %pointers, i64 %offset
  %bit1 = trunc i64 %flags to i1
  %asks = or i1 %bit1, %timed
  %together = icmp ne i64 %before, 1
  %barrier = and i1 %asks, %together
  br i1 %barrier, label %meet, label %met
meet:
  call void @barrier(ptr %control, i64 %before, ptr %box, i64 %best)
  %leaves = load atomic i64, ptr %leave.at monotonic, align 8
  %stays = icmp eq i64 %leaves, 0
  br i1 %stays, label %met, label %leave
leave:
  store atomic i64 0, ptr %leave.at monotonic, align 8
  br i1 %first, label %met, label %out
met:
  %n = phi i64 [%before, %step], [%before, %meet], [1, %leave]
  %alone = icmp eq i64 %n, 1
  br i1 %stamps, label %stamp, label %stamped
stamp:
  %time.at = getelementptr i64, ptr %times, i64 %i
  %time = call i64 @clock()
  store i64 %time, ptr %time.at
  br label %stamped
stamped:
  %bit2 = and i64 %flags, 2
  %commits = icmp ne i64 %bit2, 0
  br i1 %commits, label %commit, label %go
commit:
  %failed = load atomic i64, ptr %status monotonic, align 8
  %bad = icmp ne i64 %failed, 0
  br i1 %bad, label %finish, label %go
go:
  br i1 %alone, label %one, label %share
one:
  %mine = select i1 %first, i64 %blocks, i64 0
  br label %bounds
share:
  %t.next = add i64 %t, 1
  %low = mul i64 %blocks, %t
  %high = mul i64 %blocks, %t.next
  %low.t = udiv i64 %low, %n
  %high.t = udiv i64 %high, %n
  br label %bounds
bounds:
  %begin = phi i64 [0, %one], [%low.t, %share]
  %end = phi i64 [%mine, %one], [%high.t, %share]
  %some = icmp ult i64 %begin, %end
  br i1 %some, label %call, label %next
call:
  call void %kernel(ptr %table, i64 %begin, i64 %end, ptr %scratch)
  br label %next
next:
  %i.next = add i64 %i, 1
  %over = icmp eq i64 %i.next, %count
  br i1 %over, label %finish, label %step
finish:
  %n.end = phi i64 [%threads, %entry], [%n, %commit], [%n, %next]
  %alone.end = icmp eq i64 %n.end, 1
  br i1 %alone.end, label %last.stamp, label %part
part:
  br i1 %first, label %join, label %arrive
join:
  call void @barrier(ptr %control, i64 %n.end, ptr %box, i64 9223372036854775807)
  br label %last.stamp
last.stamp:
  br i1 %stamps, label %close, label %out
close:
  %end.at = getelementptr i64, ptr %times, i64 %count
  %end.time = call i64 @clock()
  store i64 %end.time, ptr %end.at
  br label %out
arrive:  ; a worker need not see the others arrive: the caller does
  %last = call i1 @arrive(ptr %control, i64 %n.end, i64 9223372036854775807)
  br label %out
out:
  ret void
}

; The life of worker t: spin for a program, sleep, run it. Returns to sleep where there is no futex.
define void @needle_work(ptr %control, i64 %t) {
entry:
  %box = call ptr @mailbox(ptr %control, i64 %t)
  %posted = getelementptr i64, ptr %box, i64 MAIL.POSTED
  %taken = getelementptr i64, ptr %box, i64 MAIL.TAKEN
  %state = getelementptr i64, ptr %box, i64 MAIL.STATE
  %bell = getelementptr i64, ptr %box, i64 MAIL.BELL
  %program.at = getelementptr i64, ptr %box, i64 MAIL.PROGRAM
  %threads.at = getelementptr i64, ptr %box, i64 MAIL.THREADS
  %busy.at = getelementptr i64, ptr %control, i64 CONTROL.BUSY
  %limit.at = getelementptr i64, ptr %control, i64 CONTROL.SPIN
  %polite.at = getelementptr i64, ptr %control, i64 CONTROL.BARRIER_SPIN
  %can = call i1 @can_sleep()
  store atomic i64 STATE.SPINS, ptr %state seq_cst, align 8
  br label %idle
idle:
  %done = load i64, ptr %taken
  %limit = load i64, ptr %limit.at
  %polite = load i64, ptr %polite.at
  %fresh = call i64 @clock()
  br label %spin
spin:
  %start = phi i64 [%fresh, %idle], [%since, %young], [%since, %give], [%tick, %again]
  %now = load atomic i64, ptr %posted acquire, align 8
  %news = icmp ne i64 %now, %done
  br i1 %news, label %take, label %pause
pause:
  call void @pause()
  %busy = load atomic i64, ptr %busy.at monotonic, align 8
  %wanted = icmp ne i64 %busy, 0
  %tick = call i64 @clock()
  %since = select i1 %wanted, i64 %tick, i64 %start
  br label %check
check:
  %spent = sub i64 %tick, %since
  %long = icmp uge i64 %spent, %limit
  br i1 %long, label %tire, label %young
young:  ; the caller may need this very core
  %old = icmp uge i64 %spent, %polite
  br i1 %old, label %give, label %spin
give:
  call void @give()
  br label %spin
tire:
  %rings = load atomic i64, ptr %bell seq_cst, align 8
  %try = cmpxchg ptr %state, i64 STATE.SPINS, i64 STATE.SLEEPS seq_cst seq_cst
  %free = extractvalue { i64, i1 } %try, 1
  br i1 %free, label %doze, label %again
again:  ; claimed: the job is on its way
  br label %spin
doze:
  %late = load atomic i64, ptr %posted seq_cst, align 8
  %missed = icmp ne i64 %late, %done
  br i1 %missed, label %take, label %sleep
sleep:
  br i1 %can, label %rest, label %out
rest:
  call void @sleep_on(ptr %bell, i64 %rings)
  store atomic i64 STATE.SPINS, ptr %state seq_cst, align 8
  br label %idle
out:
  ret void
take:
  %job = phi i64 [%now, %spin], [%late, %doze]
  store atomic i64 STATE.SPINS, ptr %state seq_cst, align 8
  store i64 %job, ptr %taken
  %program = load ptr, ptr %program.at
  %threads = load i64, ptr %threads.at
  call void @walk(ptr %control, ptr %program, i64 %t, i64 %threads)
  br label %idle
}

; Ring the bell of a sleeping worker; one ring is enough however often it is called. Where there is
; no bell, Python wakes it, and must find its state unchanged.
define internal void @ring(ptr %box) noinline {
entry:
  %can = call i1 @can_sleep()
  br i1 %can, label %look, label %rung
look:
  %state = getelementptr i64, ptr %box, i64 MAIL.STATE
  %bell = getelementptr i64, ptr %box, i64 MAIL.BELL
  %try = cmpxchg ptr %state, i64 STATE.SLEEPS, i64 STATE.WAKES seq_cst seq_cst
  %slept = extractvalue { i64, i1 } %try, 1
  br i1 %slept, label %wake, label %rung
wake:
  %ignored = atomicrmw add ptr %bell, i64 1 seq_cst
  call void @wake_on(ptr %bell)
  br label %rung
rung:
  ret void
}

; Claim workers 1..n-1. The result is how many threads run now: a short program does not wait for
; sleepers (they are woken for the next one), a long one does, as far as a futex can wake them.
define internal i64 @enlist(ptr %control, i64 %n, i1 %short) noinline {
entry:
  %waits = xor i1 %short, true
  %can = call i1 @can_sleep()
  %posts = and i1 %waits, %can
  br label %worker
worker:
  %t = phi i64 [1, %entry], [%t.next, %next]
  %ready = phi i64 [1, %entry], [%ready.next, %next]
  %box = call ptr @mailbox(ptr %control, i64 %t)
  %state = getelementptr i64, ptr %box, i64 MAIL.STATE
  %try = cmpxchg ptr %state, i64 STATE.SPINS, i64 STATE.CLAIMED seq_cst seq_cst
  %claimed = extractvalue { i64, i1 } %try, 1
  %joins = or i1 %claimed, %posts
  %unbroken = icmp eq i64 %ready, %t
  %counts = and i1 %joins, %unbroken
  %more = zext i1 %counts to i64
  %ready.next = add i64 %ready, %more
  br i1 %counts, label %next, label %leave
leave:
  br i1 %claimed, label %release, label %wake
release:
  store atomic i64 STATE.SPINS, ptr %state seq_cst, align 8
  br label %next
wake:
  call void @ring(ptr %box)
  br label %next
next:
  %t.next = add i64 %t, 1
  %over = icmp eq i64 %t.next, %n
  br i1 %over, label %done, label %worker
done:
  ret i64 %ready.next
}

; Hand the program to workers 1..n-1.
define internal void @post(ptr %control, ptr %program, i64 %n) noinline {
entry:
  br label %worker
worker:
  %t = phi i64 [1, %entry], [%t.next, %worker]
  %box = call ptr @mailbox(ptr %control, i64 %t)
  %program.at = getelementptr i64, ptr %box, i64 MAIL.PROGRAM
  %threads.at = getelementptr i64, ptr %box, i64 MAIL.THREADS
  %posted = getelementptr i64, ptr %box, i64 MAIL.POSTED
  store ptr %program, ptr %program.at
  store i64 %n, ptr %threads.at
  %ignored = atomicrmw add ptr %posted, i64 1 seq_cst
  call void @ring(ptr %box)
  %t.next = add i64 %t, 1
  %over = icmp eq i64 %t.next, %n
  br i1 %over, label %done, label %worker
done:
  ret void
}

; The ticks that threads 0..n-1 have waited; set back to zero.
define internal i64 @collect(ptr %control, i64 %n) noinline {
entry:
  br label %worker
worker:
  %t = phi i64 [0, %entry], [%t.next, %worker]
  %sum = phi i64 [0, %entry], [%sum.next, %worker]
  %box = call ptr @mailbox(ptr %control, i64 %t)
  %waited.at = getelementptr i64, ptr %box, i64 MAIL.WAITED
  %waited = load i64, ptr %waited.at
  store i64 0, ptr %waited.at
  %sum.next = add i64 %sum, %waited
  %t.next = add i64 %t, 1
  %over = icmp eq i64 %t.next, %n
  br i1 %over, label %done, label %worker
done:
  ret i64 %sum.next
}

; Fill the pointer table of a program.
define internal void @bind(ptr %program) noinline {
entry:
  %pointers.at = getelementptr i64, ptr %program, i64 PROGRAM.POINTERS
  %pointers = load ptr, ptr %pointers.at
  %relocations.at = getelementptr i64, ptr %program, i64 PROGRAM.RELOCATIONS
  %relocations = load ptr, ptr %relocations.at
  %count.at = getelementptr i64, ptr %program, i64 PROGRAM.POINTER_COUNT
  %count = load i64, ptr %count.at
  %slots.at = getelementptr i64, ptr %program, i64 PROGRAM.SLOTS
  %slots = load ptr, ptr %slots.at
  %none = icmp eq i64 %count, 0
  br i1 %none, label %done, label %pointer
pointer:
  %i = phi i64 [0, %entry], [%i.next, %pointer]
  %pair = mul i64 %i, 2
  %slot.at = getelementptr i64, ptr %relocations, i64 %pair
  %offset.at = getelementptr i64, ptr %slot.at, i64 1
  %slot = load i64, ptr %slot.at
  %offset = load i64, ptr %offset.at
  %base.at = getelementptr i64, ptr %slots, i64 %slot
  %base = load i64, ptr %base.at
  %address = add i64 %base, %offset
  %to = getelementptr i64, ptr %pointers, i64 %i
  store i64 %address, ptr %to
  %i.next = add i64 %i, 1
  %over = icmp eq i64 %i.next, %count
  br i1 %over, label %done, label %pointer
done:
  ret void
}

; One call of a program. Bit 0 of the result: the status word is set; bit 1: counters are full.
define i64 @needle_run(ptr %control, ptr %program) {
entry:
  call void @bind(ptr %program)
  %busy.at = getelementptr i64, ptr %control, i64 CONTROL.BUSY
  %short.at = getelementptr i64, ptr %program, i64 PROGRAM.SHORT
  %threads.at = getelementptr i64, ptr %program, i64 PROGRAM.THREADS
  %estimate.at = getelementptr i64, ptr %program, i64 PROGRAM.ESTIMATE
  %used.at = getelementptr i64, ptr %program, i64 PROGRAM.USED
  %calls.at = getelementptr i64, ptr %program, i64 PROGRAM.CALLS
  %waited.at = getelementptr i64, ptr %program, i64 PROGRAM.WAITED
  %elapsed.at = getelementptr i64, ptr %program, i64 PROGRAM.ELAPSED
  %status.at = getelementptr i64, ptr %program, i64 PROGRAM.STATUS
  %wanted = load i64, ptr %threads.at
  %start = call i64 @clock()
  %alone = icmp ule i64 %wanted, 1
  br i1 %alone, label %walk, label %gather
gather:
  %estimate = load i64, ptr %estimate.at
  %limit = load i64, ptr %short.at
  %short = icmp ult i64 %estimate, %limit
  %ready = call i64 @enlist(ptr %control, i64 %wanted, i1 %short)
  %fewer = icmp ult i64 %ready, %wanted
  %busy = zext i1 %fewer to i64
  store atomic i64 %busy, ptr %busy.at monotonic, align 8
  %single = icmp eq i64 %ready, 1
  br i1 %single, label %walk, label %send
send:
  call void @post(ptr %control, ptr %program, i64 %ready)
  br label %walk
walk:
  %n = phi i64 [1, %entry], [1, %gather], [%ready, %send]
  call void @walk(ptr %control, ptr %program, i64 0, i64 %n)
  store atomic i64 0, ptr %busy.at monotonic, align 8
  %end = call i64 @clock()
  %ticks = sub i64 %end, %start
  %work = mul i64 %ticks, %n
  %best.at = getelementptr i64, ptr %program, i64 PROGRAM.BEST
  %best = load i64, ptr %best.at
  %better = icmp ult i64 %work, %best
  %best.now = select i1 %better, i64 %work, i64 %best
  store i64 %best.now, ptr %best.at
  store i64 %best.now, ptr %estimate.at
  store i64 %n, ptr %used.at
  %waits = call i64 @collect(ptr %control, i64 %n)
  %full = icmp eq i64 %n, %wanted
  br i1 %full, label %count, label %result
count:  ; calls that only woke the others would distort the average
  %calls = load i64, ptr %calls.at
  %calls.next = add i64 %calls, 1
  store i64 %calls.next, ptr %calls.at
  %waited = load i64, ptr %waited.at
  %waited.next = add i64 %waited, %waits
  store i64 %waited.next, ptr %waited.at
  %elapsed = load i64, ptr %elapsed.at
  %elapsed.next = add i64 %elapsed, %ticks
  store i64 %elapsed.next, ptr %elapsed.at
  br label %result
result:
  %calls.now = load i64, ptr %calls.at
  %waited.now = load i64, ptr %waited.at
  %call.limit.at = getelementptr i64, ptr %program, i64 PROGRAM.CALL_LIMIT
  %call.limit = load i64, ptr %call.limit.at
  %wait.limit.at = getelementptr i64, ptr %program, i64 PROGRAM.WAIT_LIMIT
  %wait.limit = load i64, ptr %wait.limit.at
  %many = icmp uge i64 %calls.now, %call.limit
  %slow = icmp ugt i64 %waited.now, %wait.limit
  %review = or i1 %many, %slow
  %bit2 = select i1 %review, i64 2, i64 0
  %status = load ptr, ptr %status.at
  %site = load i64, ptr %status
  %bad = icmp ne i64 %site, 0
  %bit1 = zext i1 %bad to i64
  %whole.at = getelementptr i64, ptr %program, i64 PROGRAM.RUNS
  %whole = load i64, ptr %whole.at
  %more = sub i64 1, %bit1
  %whole.next = add i64 %whole, %more
  store i64 %whole.next, ptr %whole.at
  %bits = or i64 %bit1, %bit2
  ret i64 %bits
}

; The clock that all limits and times are in.
define i64 @needle_clock() {
  %ticks = call i64 @clock()
  ret i64 %ticks
}

; What the machine and the system give: a clock (LLVM knows none for some rare CPUs: it stands still
; there), a pause in a loop that spins, giving the core away, sleeping on a word and waking.
declare i64 @llvm.readcyclecounter()
declare i32 @SYSTEM.GIVE()
declare i64 @syscall(i64, ...)
SYSTEM.DECLARE_PAUSE

define internal i64 @clock() alwaysinline {
  %ticks = call i64 @llvm.readcyclecounter()
  ret i64 %ticks
}

define internal void @pause() alwaysinline {
  SYSTEM.PAUSE
  ret void
}

define internal void @give() {
  %ignored = call i32 @SYSTEM.GIVE()
  ret void
}

define internal i1 @can_sleep() alwaysinline {
  ret i1 SYSTEM.CAN_SLEEP
}

define internal void @sleep_on(ptr %bell, i64 %rings) {
  SYSTEM.SLEEP
  ret void
}

define internal void @wake_on(ptr %bell) {
  SYSTEM.WAKE
  ret void
}
