// Source and sink of one stream component `top`, for Verilator's --binary.
//
// Reads inputs.hex (payloads) and pauses.hex (bit 0 pauses the source, bit 1 the sink, one word a
// cycle, from the start again at its end); writes a line "cycle payload" for each output beat.

`timescale 1ns / 1ps

module bench;
    parameter I_BITS = 1, O_BITS = 1, INPUTS = 1, OUTPUTS = 1, PAUSES = 1, TIMEOUT = 1000;

    reg clk = 0, rst = 1;
    reg [I_BITS-1:0] inputs [0:INPUTS-1];
    reg [1:0] pauses [0:PAUSES-1];
    integer cycle = 0, sent = 0, taken = 0, idle = 0, file;

    reg i_valid = 0, o_ready = 0;
    wire i_ready, o_valid;
    reg [I_BITS-1:0] i_payload = 0;
    wire [O_BITS-1:0] o_payload;

    top dut (
        .clk(clk), .rst(rst),
        .i__payload(i_payload), .i__valid(i_valid), .i__ready(i_ready),
        .o__payload(o_payload), .o__valid(o_valid), .o__ready(o_ready));

    reg held = 0;
    reg [O_BITS-1:0] held_payload;

    initial begin
        $readmemh("inputs.hex", inputs);
        $readmemh("pauses.hex", pauses);
        file = $fopen("outputs.txt", "w");
        repeat (4) begin
            #5 clk = 1;
            #5 clk = 0;
        end
        rst = 0;
        while ((taken < OUTPUTS || idle < 20) && idle < TIMEOUT) begin
            // Inputs change while the clock is low; a transfer is judged right before its edge.
            if (!i_valid && sent < INPUTS && !pauses[cycle % PAUSES][0]) begin
                i_valid = 1;
                i_payload = inputs[sent];
            end
            o_ready = !pauses[cycle % PAUSES][1];
            #4;
            if (held && (!o_valid || o_payload != held_payload))
                $fatal(1, "cycle %0d: o changed before it was taken", cycle);
            held = o_valid && !o_ready;
            held_payload = o_payload;
            idle = idle + 1;
            if (o_valid && o_ready) begin
                $fdisplay(file, "%0d %h", cycle, o_payload);
                taken = taken + 1;
                idle = 0;
            end
            #1 clk = 1;
            #1;
            if (i_valid && i_was_ready) begin
                sent = sent + 1;
                i_valid = 0;
            end
            #4 clk = 0;
            cycle = cycle + 1;
        end
        $fclose(file);
        $finish;
    end

    // What i_ready was at the edge.
    reg i_was_ready = 0;
    always @(posedge clk) i_was_ready <= i_ready;
endmodule
