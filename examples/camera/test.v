// Sends four images through a camera and stops at the first class that is not the golden model's.
module test;
  reg clk = 0, rst = 1;
  reg [7:0] pixels[0:4 * 784 - 1];
  reg [3:0] classes[0:3];
  integer sent = 0, got = 0;
  wire [3:0] class_;
  wire ready, valid;

  camera dut(.clk(clk), .rst(rst), .pixel(pixels[sent]), .pixel_valid(sent < 4 * 784),
    .pixel_ready(ready), .class_(class_), .class_valid(valid));

  initial begin
    $readmemh("pixels.hex", pixels);
    $readmemh("classes.hex", classes);
    #45 rst = 0;
  end
  always #5 clk = !clk;
  always @(posedge clk) if (!rst) begin
    if (ready && sent < 4 * 784) sent <= sent + 1;
    if (valid) begin
      got <= got + 1;
      if (class_ != classes[got]) $fatal(1, "frame %0d is %0d", got, class_);
      if (got == 3) begin
        $display("4 frames right");
        $finish;
      end
    end
  end
endmodule
