// Source, sink and judge of a stream component `top` with faults, for Verilator's --binary.
//
// The fault `mutant` of MUTANTS is in force, 0 for none; each is run under the four stall patterns, with
// ROUNDS different pauses. A reset in mid-frame goes before each but the first. Reads inputs.hex and
// pauses.hex as bench.sv does, and what must come out: wanted.hex, where mask.hex has a bit set. Writes a
// line "mutant verdict" for each:
//
// 0 not caught, 1 a value, 2 the hold rule, 3 a beat too many, 4 stands still, 5 another cycle. When
// beats come out without stalls is noted of mutant 0, which goes first.

`timescale 1ns / 1ps

module bench;
    parameter I_BITS = 1, O_BITS = 1, INPUTS = 1, OUTPUTS = 1, PAUSES = 1, TIMEOUT = 1000;
    parameter MUTANTS = 1, SELECT_BITS = 1, ROUNDS = 3;

    reg clk = 0, rst = 1;
    reg [SELECT_BITS-1:0] mutant = 0;
    reg [I_BITS-1:0] inputs [0:INPUTS-1];
    reg [O_BITS-1:0] wanted [0:OUTPUTS-1];
    reg [O_BITS-1:0] mask [0:OUTPUTS-1];
    reg [1:0] pauses [0:PAUSES-1];
    integer usual [0:OUTPUTS-1];
    integer cycle, sent, taken, idle, file, verdict, pattern;

    reg i_valid = 0, o_ready = 0, i_was_ready, held;
    wire i_ready, o_valid;
    reg [I_BITS-1:0] i_payload = 0;
    wire [O_BITS-1:0] o_payload;
    reg [O_BITS-1:0] held_payload;

    top dut (
        .clk(clk), .rst(rst), .mutant(mutant),
        .i__payload(i_payload), .i__valid(i_valid), .i__ready(i_ready),
        .o__payload(o_payload), .o__valid(o_valid), .o__ready(o_ready));

    // A cycle: streams change while the clock is low, and a transfer is judged before its edge.
    task step(input pause_source, input pause_sink);
        begin
            if (!i_valid && sent < INPUTS && !pause_source) begin
                i_valid = 1;
                i_payload = inputs[sent];
            end
            o_ready = !pause_sink;
            #4 i_was_ready = i_ready;
            idle = idle + 1;
            if (!rst) begin
                if (held && (!o_valid || o_payload != held_payload) && verdict == 0)
                    verdict = 2;
                held = o_valid && !o_ready;
                held_payload = o_payload;
                if (o_valid && o_ready) begin
                    idle = 0;
                    if (taken >= OUTPUTS) begin
                        if (verdict == 0) verdict = 3;
                    end else if (((o_payload ^ wanted[taken]) & mask[taken]) != 0) begin
                        if (verdict == 0) verdict = 1;
                    end else if (pattern % 4 == 0) begin
                        if (mutant == 0 && pattern == 0) usual[taken] = cycle;
                        else if (usual[taken] != cycle && verdict == 0) verdict = 5;
                    end
                    taken = taken + 1;
                end
            end
            #1 clk = 1;
            #1;
            if (i_valid && i_was_ready && !rst) begin
                sent = sent + 1;
                i_valid = 0;
            end
            #4 clk = 0;
            cycle = cycle + 1;
        end
    endtask

    task restart;
        begin
            rst = 1;
            i_valid = 0;
            sent = INPUTS;
            repeat (4) step(1, 1);
            rst = 0;
            {sent, taken, idle, cycle} = 0;
            held = 0;
        end
    endtask

    integer fault, spent;

    initial begin
        $readmemh("inputs.hex", inputs);
        $readmemh("wanted.hex", wanted);
        $readmemh("mask.hex", mask);
        $readmemh("pauses.hex", pauses);
        file = $fopen("verdicts.txt", "w");
        for (fault = 0; fault < MUTANTS; fault = fault + 1) begin
            mutant = SELECT_BITS'(fault);
            verdict = 0;
            for (pattern = 0; pattern < 4 * ROUNDS && verdict == 0; pattern = pattern + 1) begin
                restart;
                for (spent = 0; spent < pattern * 53; spent = spent + 1)
                    step(0, cycle % (3 + pattern) == 0);
                verdict = 0;
                restart;
                while ((taken < OUTPUTS || idle < 40) && idle < TIMEOUT && verdict == 0)
                    step(pattern[0] && pauses[(cycle + 997 * pattern) % PAUSES][0],
                         pattern[1] && pauses[(cycle + 997 * pattern) % PAUSES][1]);
                if (verdict == 0 && taken < OUTPUTS) verdict = 4;
            end
            $fdisplay(file, "%0d %0d", fault, verdict);
        end
        $fclose(file);
        $finish;
    end
endmodule
