// Behaviour of the ECP5 cells that Yosys knows as black boxes only, for simulation after synthesis.
//
// Written from Lattice's descriptions: "ECP5 and ECP5-5G sysDSP Usage Guide" (TN1267) and "ECP5 and
// ECP5-5G Memory Usage Guide" (TN1264). Parameters that ask for what is not modelled end the
// simulation at its start; the cascade inputs (SOURCEA, SOURCEB, SRI) are taken as unused.

`timescale 1ns / 1ps

// 18 x 18 bits with optional input, pipeline and output registers.
module MULT18X18D (
    input
    A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0, B17, B16,
    B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0, C17, C16, C15, C14,
    C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0, SRIA17, SRIA16, SRIA15, SRIA14,
    SRIA13, SRIA12, SRIA11, SRIA10, SRIA9, SRIA8, SRIA7, SRIA6, SRIA5, SRIA4, SRIA3, SRIA2,
    SRIA1, SRIA0, SRIB17, SRIB16, SRIB15, SRIB14, SRIB13, SRIB12, SRIB11, SRIB10, SRIB9, SRIB8,
    SRIB7, SRIB6, SRIB5, SRIB4, SRIB3, SRIB2, SRIB1, SRIB0, SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    CLK0, CLK1, CLK2, CLK3, CE0, CE1, CE2, CE3, RST0, RST1, RST2, RST3,
    output
    P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
    P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0, SROA17,
    SROA16, SROA15, SROA14, SROA13, SROA12, SROA11, SROA10, SROA9, SROA8, SROA7, SROA6, SROA5,
    SROA4, SROA3, SROA2, SROA1, SROA0, SROB17, SROB16, SROB15, SROB14, SROB13, SROB12, SROB11,
    SROB10, SROB9, SROB8, SROB7, SROB6, SROB5, SROB4, SROB3, SROB2, SROB1, SROB0, ROA17, ROA16,
    ROA15, ROA14, ROA13, ROA12, ROA11, ROA10, ROA9, ROA8, ROA7, ROA6, ROA5, ROA4, ROA3, ROA2,
    ROA1, ROA0, ROB17, ROB16, ROB15, ROB14, ROB13, ROB12, ROB11, ROB10, ROB9, ROB8, ROB7, ROB6,
    ROB5, ROB4, ROB3, ROB2, ROB1, ROB0, ROC17, ROC16, ROC15, ROC14, ROC13, ROC12, ROC11, ROC10,
    ROC9, ROC8, ROC7, ROC6, ROC5, ROC4, ROC3, ROC2, ROC1, ROC0, SIGNEDP
);
    parameter REG_INPUTA_CLK = "NONE", REG_INPUTA_CE = "CE0", REG_INPUTA_RST = "RST0";
    parameter REG_INPUTB_CLK = "NONE", REG_INPUTB_CE = "CE0", REG_INPUTB_RST = "RST0";
    parameter REG_INPUTC_CLK = "NONE", REG_INPUTC_CE = "CE0", REG_INPUTC_RST = "RST0";
    parameter REG_PIPELINE_CLK = "NONE", REG_PIPELINE_CE = "CE0", REG_PIPELINE_RST = "RST0";
    parameter REG_OUTPUT_CLK = "NONE", REG_OUTPUT_CE = "CE0", REG_OUTPUT_RST = "RST0";
    parameter CLK0_DIV = "ENABLED", CLK1_DIV = "ENABLED", CLK2_DIV = "ENABLED";
    parameter CLK3_DIV = "ENABLED", HIGHSPEED_CLK = "NONE", GSR = "ENABLED";
    parameter CAS_MATCH_REG = "FALSE", SOURCEB_MODE = "B_SHIFT", MULT_BYPASS = "DISABLED";
    parameter RESETMODE = "SYNC";

    initial if (MULT_BYPASS != "DISABLED") $fatal(1, "MULT18X18D %m: bypass is not modelled");

    localparam ASYNC = RESETMODE == "ASYNC";

    wire [17:0] a = {
    A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
    wire [17:0] b = {
    B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
    // One operand bit more, so that signed and unsigned operands take the same product.
    wire [18:0] wide_a = {SIGNEDA & a[17], a};
    wire [18:0] wide_b = {SIGNEDB & b[17], b};
    wire [18:0] held_a, held_b;
    wire [35:0] piped;

    ecp5_dsp_register #(19, ASYNC, REG_INPUTA_CLK, REG_INPUTA_CE, REG_INPUTA_RST) input_a (
        {CLK3, CLK2, CLK1, CLK0}, {CE3, CE2, CE1, CE0}, {RST3, RST2, RST1, RST0}, wide_a, held_a);
    ecp5_dsp_register #(19, ASYNC, REG_INPUTB_CLK, REG_INPUTB_CE, REG_INPUTB_RST) input_b (
        {CLK3, CLK2, CLK1, CLK0}, {CE3, CE2, CE1, CE0}, {RST3, RST2, RST1, RST0}, wide_b, held_b);
    wire signed [35:0] product = $signed(held_a) * $signed(held_b);
    ecp5_dsp_register #(36, ASYNC, REG_PIPELINE_CLK, REG_PIPELINE_CE, REG_PIPELINE_RST) pipeline (
        {CLK3, CLK2, CLK1, CLK0}, {CE3, CE2, CE1, CE0}, {RST3, RST2, RST1, RST0}, product, piped);
    ecp5_dsp_register #(36, ASYNC, REG_OUTPUT_CLK, REG_OUTPUT_CE, REG_OUTPUT_RST) result (
        {CLK3, CLK2, CLK1, CLK0}, {CE3, CE2, CE1, CE0}, {RST3, RST2, RST1, RST0}, piped, {
        P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19,
        P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0});
    assign SIGNEDP = SIGNEDA | SIGNEDB;
endmodule

// A register of a DSP block, or a wire where its clock is "NONE".
module ecp5_dsp_register #(
    parameter WIDTH = 1, parameter ASYNC = 0,
    parameter CLK = "NONE", parameter CE = "CE0", parameter RST = "RST0"
) (input [3:0] clocks, enables, resets, input [WIDTH-1:0] d, output [WIDTH-1:0] q);
    localparam C = CLK == "CLK3" ? 3 : CLK == "CLK2" ? 2 : CLK == "CLK1" ? 1 : 0;
    localparam E = CE == "CE3" ? 3 : CE == "CE2" ? 2 : CE == "CE1" ? 1 : 0;
    localparam R = RST == "RST3" ? 3 : RST == "RST2" ? 2 : RST == "RST1" ? 1 : 0;
    generate
        if (CLK == "NONE") begin : wired
            assign q = d;
        end else begin : registered
            reg [WIDTH-1:0] held = 0;
            wire clear = ASYNC & resets[R];
            always @(posedge clocks[C] or posedge clear)
                if (clear | resets[R]) held <= 0;
                else if (enables[E]) held <= d;
            assign q = held;
        end
    endgenerate
endmodule

// 18 kbit of block RAM with two ports of 1, 2, 4, 9 or 18 bits, or one that writes and one that
// reads 36 bits. Words of fewer than 9 bits lie in the low 8 of each 9 bits.
module DP16KD (
    input
    DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4,
    DIA3, DIA2, DIA1, DIA0, ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4,
    ADA3, ADA2, ADA1, ADA0, CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0, DIB17, DIB16, DIB15,
    DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1,
    DIB0, ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1,
    ADB0, CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
    output
    DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4,
    DOA3, DOA2, DOA1, DOA0, DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8,
    DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
    parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
    parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG";
    parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC";
    parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000";
    parameter WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
    parameter CLKAMUX = "CLKA", CLKBMUX = "CLKB";
    parameter GSR = "ENABLED", INIT_DATA = "STATIC";
    parameter [319:0] INITVAL_00 = 320'b0, INITVAL_01 = 320'b0, INITVAL_02 = 320'b0;
    parameter [319:0] INITVAL_03 = 320'b0, INITVAL_04 = 320'b0, INITVAL_05 = 320'b0;
    parameter [319:0] INITVAL_06 = 320'b0, INITVAL_07 = 320'b0, INITVAL_08 = 320'b0;
    parameter [319:0] INITVAL_09 = 320'b0, INITVAL_0A = 320'b0, INITVAL_0B = 320'b0;
    parameter [319:0] INITVAL_0C = 320'b0, INITVAL_0D = 320'b0, INITVAL_0E = 320'b0;
    parameter [319:0] INITVAL_0F = 320'b0, INITVAL_10 = 320'b0, INITVAL_11 = 320'b0;
    parameter [319:0] INITVAL_12 = 320'b0, INITVAL_13 = 320'b0, INITVAL_14 = 320'b0;
    parameter [319:0] INITVAL_15 = 320'b0, INITVAL_16 = 320'b0, INITVAL_17 = 320'b0;
    parameter [319:0] INITVAL_18 = 320'b0, INITVAL_19 = 320'b0, INITVAL_1A = 320'b0;
    parameter [319:0] INITVAL_1B = 320'b0, INITVAL_1C = 320'b0, INITVAL_1D = 320'b0;
    parameter [319:0] INITVAL_1E = 320'b0, INITVAL_1F = 320'b0, INITVAL_20 = 320'b0;
    parameter [319:0] INITVAL_21 = 320'b0, INITVAL_22 = 320'b0, INITVAL_23 = 320'b0;
    parameter [319:0] INITVAL_24 = 320'b0, INITVAL_25 = 320'b0, INITVAL_26 = 320'b0;
    parameter [319:0] INITVAL_27 = 320'b0, INITVAL_28 = 320'b0, INITVAL_29 = 320'b0;
    parameter [319:0] INITVAL_2A = 320'b0, INITVAL_2B = 320'b0, INITVAL_2C = 320'b0;
    parameter [319:0] INITVAL_2D = 320'b0, INITVAL_2E = 320'b0, INITVAL_2F = 320'b0;
    parameter [319:0] INITVAL_30 = 320'b0, INITVAL_31 = 320'b0, INITVAL_32 = 320'b0;
    parameter [319:0] INITVAL_33 = 320'b0, INITVAL_34 = 320'b0, INITVAL_35 = 320'b0;
    parameter [319:0] INITVAL_36 = 320'b0, INITVAL_37 = 320'b0, INITVAL_38 = 320'b0;
    parameter [319:0] INITVAL_39 = 320'b0, INITVAL_3A = 320'b0, INITVAL_3B = 320'b0;
    parameter [319:0] INITVAL_3C = 320'b0, INITVAL_3D = 320'b0, INITVAL_3E = 320'b0;
    parameter [319:0] INITVAL_3F = 320'b0;

    initial if (CLKAMUX != "CLKA" || CLKBMUX != "CLKB"
                || CSDECODE_A != "0b000" || CSDECODE_B != "0b000")
        $fatal(1, "DP16KD %m: a mode that is not modelled");

    // 64 rows of 16 words of 18 bits, each in 20 bits of its parameter.
    localparam [64*320-1:0] CONTENTS = {
    INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39,
    INITVAL_38, INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32,
    INITVAL_31, INITVAL_30, INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B,
    INITVAL_2A, INITVAL_29, INITVAL_28, INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24,
    INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20, INITVAL_1F, INITVAL_1E, INITVAL_1D,
    INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18, INITVAL_17, INITVAL_16,
    INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10, INITVAL_0F,
    INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
    INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01,
    INITVAL_00};
    reg [17:0] memory [0:1023];
    integer n;
    initial for (n = 0; n < 1024; n = n + 1) memory[n] = CONTENTS[20 * n +: 18];

    wire [13:0] address_a = {
    ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
    wire [13:0] address_b = {
    ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
    wire [35:0] data_in = {
    DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4,
    DIB3, DIB2, DIB1, DIB0, DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8,
    DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
    wire clear_a = RESETMODE == "ASYNC" & RSTA;
    wire clear_b = RESETMODE == "ASYNC" & RSTB;
    wire select_a = CEA & ~CSA2 & ~CSA1 & ~CSA0;
    wire select_b = CEB & ~CSB2 & ~CSB1 & ~CSB0;
    localparam WIDE = DATA_WIDTH_A == 36 || DATA_WIDTH_B == 36;

    // The address and the data pins of a narrow port, as one word of 18 bits and its mask.
    function [17:0] place(input integer width, input [13:0] address, input [17:0] data);
        case (width)
            9: place = {9'b0, data[8:0]} << (address[3] ? 9 : 0);
            4: place = {14'b0, data[3:0]} << ((address[3] ? 9 : 0) + 4 * address[2]);
            2: place = {16'b0, data[1:0]} << ((address[3] ? 9 : 0) + 2 * address[2:1]);
            1: place = {17'b0, data[0]} << ((address[3] ? 9 : 0) + address[2:0]);
            default: place = data;
        endcase
    endfunction

    function [17:0] written(input integer width, input [13:0] address);
        if (width >= 18) written = {{9{address[1]}}, {9{address[0]}}};
        else written = place(width, address, 18'h3ffff);
    endfunction

    function [17:0] taken(input integer width, input [13:0] address, input [17:0] word);
        reg [17:0] low;
        begin
            low = address[3] ? word >> 9 : word;
            case (width)
                9: taken = low[8:0];
                4: taken = low[4*address[2] +: 4];
                2: taken = low[2*address[2:1] +: 2];
                1: taken = low[address[2:0]];
                default: taken = word;
            endcase
        end
    endfunction

    wire [9:0] row_a = DATA_WIDTH_A == 36 ? {address_a[13:5], 1'b0} : address_a[13:4];
    wire [9:0] row_b = DATA_WIDTH_B == 36 ? {address_b[13:5], 1'b0} : address_b[13:4];
    wire [9:0] upper_a = row_a | 10'd1;
    wire [9:0] upper_b = row_b | 10'd1;
    wire [17:0] mask_a = written(DATA_WIDTH_A, address_a);
    wire [17:0] mask_b = written(DATA_WIDTH_B, address_b);
    wire [17:0] mask_high = {{9{address_a[3]}}, {9{address_a[2]}}};
    wire [17:0] next_a = place(DATA_WIDTH_A, address_a, data_in[17:0]) & mask_a
        | memory[row_a] & ~mask_a;
    wire [17:0] next_b = place(DATA_WIDTH_B, address_b, data_in[35:18]) & mask_b
        | memory[row_b] & ~mask_b;

    always @(posedge CLKA) if (select_a & WEA) begin
        memory[row_a] <= next_a;
        if (DATA_WIDTH_A == 36)
            memory[upper_a] <= data_in[35:18] & mask_high | memory[upper_a] & ~mask_high;
    end
    generate
        if (!WIDE) begin : write_b
            always @(posedge CLKB) if (select_b & WEB) memory[row_b] <= next_b;
        end
    endgenerate

    // Latches behind the array, then the optional output registers.
    wire [17:0] seen_a = WEA & WRITEMODE_A == "WRITETHROUGH" ? next_a : memory[row_a];
    wire [17:0] seen_b = WEB & WRITEMODE_B == "WRITETHROUGH" ? next_b : memory[row_b];
    reg [17:0] latch_a = 0, latch_b = 0, held_a = 0, held_b = 0;
    generate
        if (WIDE) begin : read_wide
            always @(posedge CLKB or posedge clear_b) begin
                if (clear_b | RSTB) {latch_b, latch_a} <= 0;
                else if (select_b) begin
                    if (DATA_WIDTH_B == 36) {latch_b, latch_a} <= {memory[upper_b], memory[row_b]};
                    else latch_b <= taken(DATA_WIDTH_B, address_b, memory[row_b]);
                end
                if (clear_b | RSTB) {held_b, held_a} <= 0;
                else if (OCEB) {held_b, held_a} <= {latch_b, latch_a};
            end
        end else begin : read_narrow
            always @(posedge CLKA or posedge clear_a) begin
                if (clear_a | RSTA) latch_a <= 0;
                else if (select_a & (~WEA | WRITEMODE_A != "NORMAL"))
                    latch_a <= taken(DATA_WIDTH_A, address_a, seen_a);
                if (clear_a | RSTA) held_a <= 0;
                else if (OCEA) held_a <= latch_a;
            end
            always @(posedge CLKB or posedge clear_b) begin
                if (clear_b | RSTB) latch_b <= 0;
                else if (select_b & (~WEB | WRITEMODE_B != "NORMAL"))
                    latch_b <= taken(DATA_WIDTH_B, address_b, seen_b);
                if (clear_b | RSTB) held_b <= 0;
                else if (OCEB) held_b <= latch_b;
            end
        end
    endgenerate
    assign {
    DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4,
    DOA3, DOA2, DOA1, DOA0} = REGMODE_A == "OUTREG" ? held_a : latch_a;
    assign {
    DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4,
    DOB3, DOB2, DOB1, DOB0} = REGMODE_B == "OUTREG" ? held_b : latch_b;
endmodule
