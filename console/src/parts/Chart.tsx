import { BarChart, LineChart, PieChart } from 'echarts/charts';
import { AriaComponent, GridComponent, LegendComponent, TooltipComponent } from 'echarts/components';
import * as echarts from 'echarts/core';
import { CanvasRenderer } from 'echarts/renderers';
import { useEffect, useRef } from 'react';
import { useTheme } from '../theme';

echarts.use([
  BarChart,
  LineChart,
  PieChart,
  GridComponent,
  LegendComponent,
  TooltipComponent,
  AriaComponent,
  CanvasRenderer,
]);

export interface Series {
  name: string;
  /** Name of the CSS variable that holds its colour. */
  color: string;
  values: number[];
}

export interface ChartProps {
  label: string;
  /** Start of each bar, RFC 3339 or words. */
  steps: string[];
  series: Series[];
  height?: number;
  onPick?: (index: number) => void;
  /** Values are counts: the axis has no fractions. */
  whole?: boolean;
}

/** Stacked bars over time. */
export default function Chart({ label, steps, series, height = 180, onPick, whole = true }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const { name } = useTheme();
  const pick = useRef(onPick);
  pick.current = onPick;
  useEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const chart = echarts.init(element);
    chart.on('click', (event) => pick.current?.(event.dataIndex));
    const observer = new ResizeObserver(() => chart.resize());
    observer.observe(element);
    return () => {
      observer.disconnect();
      chart.dispose();
    };
  }, []);
  useEffect(() => {
    const element = box.current;
    const chart = element && echarts.getInstanceByDom(element);
    if (!element || !chart) return;
    // Colours come from the page, so another theme paints anew.
    element.dataset.theme = name;
    const css = getComputedStyle(element);
    const color = (variable: string) => css.getPropertyValue(variable).trim() || '#888';
    const text = color('--colorNeutralForeground3');
    chart.setOption(
      {
        animation: false,
        aria: { enabled: true, label: { description: label } },
        textStyle: { fontFamily: css.fontFamily },
        grid: { left: 8, right: 8, top: 12, bottom: 4, containLabel: true },
        // On the canvas: an HTML tooltip would need inline styles.
        tooltip: {
          trigger: 'axis',
          renderMode: 'richText',
          axisPointer: { type: 'shadow' },
          backgroundColor: color('--colorNeutralBackground1'),
          borderColor: color('--colorNeutralStroke1'),
          textStyle: { color: color('--colorNeutralForeground1'), fontSize: 12 },
        },
        xAxis: {
          type: 'category',
          data: steps,
          axisLabel: { color: text, fontSize: 11, hideOverlap: true },
          axisTick: { show: false },
          axisLine: { lineStyle: { color: color('--colorNeutralStroke2') } },
        },
        yAxis: {
          type: 'value',
          minInterval: whole ? 1 : undefined,
          axisLabel: { color: text, fontSize: 11 },
          splitLine: { lineStyle: { color: color('--colorNeutralStroke3') } },
        },
        series: series.map((s) => ({
          name: s.name,
          type: 'bar',
          stack: 'all',
          barCategoryGap: '20%',
          itemStyle: { color: color(s.color) },
          data: s.values,
        })),
      },
      { notMerge: true },
    );
  }, [label, steps, series, name, whole]);
  return <div ref={box} role="img" aria-label={label} style={{ height }} />;
}
